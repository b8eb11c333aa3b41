//! Services known by names that the gateway itself resolves: their addresses are what its name server tells it.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use observer_tests::agent_config::AgentConfig;
use observer_tests::name_server::{Entry, NameServer};
use observer_tests::nginx::config::Config;
use observer_tests::process::Process;
use observer_tests::wait::{PATIENCE, alone, free_port, until_true};
use observer_tests::{Agent, Client, Nginx, Request, Upstream};
use tempfile::TempDir;

const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 153);
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 161);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 162);
const THIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 163);

/// All upstreams have one port, and all requests to them one `Host`: the address alone tells.
struct Stage {
    _upstreams: Vec<Upstream>,
    nginx: Nginx,
    agent: Agent,
    _folder: TempDir,
}

fn stage(names: &[&str]) -> Result<Stage> {
    let port = free_port()?;
    let upstreams = [FIRST, SECOND, THIRD].map(|address| Upstream::on(&format!("{address}:{port}")));
    let upstreams = upstreams.into_iter().collect::<Result<Vec<_>>>()?;
    let pass = format!("proxy_pass http://$arg_to.shop.test:{port}; proxy_set_header Host one.test;");
    let nginx = Config::new()?
        .keepalive(false)
        .http(&format!("resolver {NAME_SERVER} ipv6=off;"))
        .location("/", &pass)
        .start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("services.yaml");
    let service = |config: AgentConfig, name: &&str| {
        config.service(name, format!("{name}.shop.test:{port}"), &format!("/routes-are-no-help/{name}"))
    };
    std::fs::write(&file, names.iter().fold(AgentConfig::new(), service).own())?;
    let agent = Agent::start(&[nginx.selector()], &["--config", &file.display().to_string()])?;
    Ok(Stage { _upstreams: upstreams, nginx, agent, _folder: folder })
}

impl Stage {
    fn ask(&self, name: &str) -> Result<()> {
        let answer = Client::connect(self.nginx.address())?.exchange(&Request::get(format!("/bytes/3?to={name}")))?;
        ensure!(answer.status == 200, "{name}: {}; {}", answer.status, self.nginx.error_log());
        Ok(())
    }

    fn check(&self, expected: &[(&str, usize)]) -> Result<()> {
        let all = expected.iter().map(|(_, count)| count).sum();
        let now = self.agent.settled_scrape(all)?;
        for (name, count) in expected {
            let key = format!("kong_http_status{{code=\"200\",service=\"{name}\"}}");
            ensure!(now.value(&key) == *count as f64, "{name}: {} of {count}; {}", now.value(&key), now.own());
        }
        ensure!(now.sum("kong_nginx_metric_errors_total") == 0.0, "{}", now.own());
        Ok(())
    }
}

#[test]
fn answers_over_udp_and_tcp_and_chains_of_aliases_tell_the_service() -> Result<()> {
    let _alone = alone()?;
    let entries = [
        Entry::new("orders.shop.test", FIRST),
        Entry::new("users.shop.test", SECOND).alias("lb.test").alias("node.test"),
        Entry::new("carts.shop.test", THIRD).over_tcp(),
    ];
    let _name_server = NameServer::start(NAME_SERVER, &entries)?;
    let stage = stage(&["orders", "users", "carts"])?;
    let expected = [("orders", 3), ("users", 2), ("carts", 4)];
    for (name, count) in expected {
        (0..count).try_for_each(|_| stage.ask(name))?;
    }
    stage.check(&expected)
}

/// Two services change places again and again: an address is theirs who was told it last.
#[test]
fn an_address_that_passes_from_one_name_to_another_is_followed() -> Result<()> {
    const ROUNDS: usize = 3;
    let _alone = alone()?;
    let name_server = NameServer::start(NAME_SERVER, &[])?;
    let stage = stage(&["orders", "users"])?;
    for round in 0..ROUNDS {
        let (orders, users) = if round % 2 == 0 { (FIRST, SECOND) } else { (SECOND, FIRST) };
        name_server.set(Entry::new("orders.shop.test", orders).ttl(1));
        name_server.set(Entry::new("users.shop.test", users).ttl(1));
        // nginx counts whole seconds: what it was told is over then.
        std::thread::sleep(Duration::from_millis(2_100));
        for name in ["orders", "users", "users"] {
            stage.ask(name)?;
        }
    }
    stage.check(&[("orders", ROUNDS), ("users", 2 * ROUNDS)])
}

/// As musl and c-ares do it: the socket does not say whom it hears, the answer's bytes tell what it is.
#[test]
fn answers_on_a_socket_that_is_not_connected_are_heard() -> Result<()> {
    const RESOLVER: &str = r#"
        use Socket;
        my ($server, $name) = @ARGV;
        socket(my $socket, PF_INET, SOCK_DGRAM, 17) or die $!;
        my $query = pack("n6", 7, 0x0100, 1, 0, 0, 0) . join("", map { pack("C/a", $_) } split(/\./, $name));
        while (1) {
            send($socket, $query . pack("C n n", 0, 1, 1), 0, pack_sockaddr_in(53, inet_aton($server))) or die $!;
            recv($socket, my $answer, 4096, 0);
            print STDERR length($answer), "\n";
            select(undef, undef, undef, 0.05);
        }"#;
    let _alone = alone()?;
    let _name_server = NameServer::start(NAME_SERVER, &[Entry::new("orders.shop.test", FIRST)])?;
    let port = free_port()?;
    let _upstream = Upstream::on(&format!("{FIRST}:{port}"))?;
    let pass = format!("proxy_pass http://{FIRST}:{port}; proxy_set_header Host one.test;");
    let nginx = Config::new()?.location("/", &pass).start()?;
    let server = NAME_SERVER.to_string();
    let resolver = Process::spawn(Command::new("perl").args(["-e", RESOLVER, &server, "orders.shop.test"]))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("services.yaml");
    std::fs::write(&file, AgentConfig::new().service("orders", format!("orders.shop.test:{port}"), "/no-help").own())?;
    let selectors = [nginx.selector(), format!("pid:{}", resolver.pid())];
    let agent = Agent::start(&selectors, &["--config", &file.display().to_string()])?;
    let mut asked = 0;
    until_true("an answer was heard", PATIENCE, || {
        Client::connect(nginx.address())?.exchange(&Request::get("/bytes/1"))?;
        asked += 1;
        let now = agent.settled_scrape(asked)?;
        Ok(now.value("kong_http_status{code=\"200\",service=\"orders\"}") > 0.0)
    })
    .with_context(|| format!("the resolver's stderr:\n{}", resolver.stderr()))
}
