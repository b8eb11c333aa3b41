//! The page's second option: the metrics behind a route of the gateway itself, for some addresses only.

use anyhow::Result;
use observer_tests::nginx::config::Config;
use observer_tests::tools::curl_status;
use observer_tests::wait::{alone, free_port};
use observer_tests::{Agent, Nginx};

const NOT_ALLOWED: &str = r#"{"message":"Your IP address is not allowed"}"#;

/// Everything but the location is the recipe's: a service and a route that lead to the observer.
fn gateway(observer: u16, directives: &str) -> Result<Nginx> {
    let forward = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header Host $host;";
    let location = format!("{directives} {forward} proxy_pass http://127.0.0.1:{observer};");
    Config::new()?.location("/", &location).start()
}

/// Status and body of a GET through the gateway, from this address of the loopback network.
fn ask(nginx: &Nginx, from: &str, path: &str, more: &[&str]) -> Result<(u16, String)> {
    let url = format!("http://{}{path}", nginx.address());
    let mut arguments = vec!["--path-as-is", "--interface", from, &url];
    arguments.extend(more);
    curl_status(&arguments)
}

#[test]
fn the_observers_own_allow_list_sees_through_a_trusted_gateway() -> Result<()> {
    let _alone = alone()?;
    let port = free_port()?;
    let nginx = gateway(port, "")?;
    let listen = format!("127.0.0.1:{port},allow=127.0.0.2");
    let _agent = Agent::start(&[nginx.selector()], &["--listen", &listen, "--trust-proxy", "127.0.0.1"])?;
    let (status, body) = ask(&nginx, "127.0.0.2", "/metrics", &[])?;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("kong_nginx_http_current_connections"), "{body}");
    assert_eq!(ask(&nginx, "127.0.0.3", "/metrics", &[])?, (403, NOT_ALLOWED.to_owned()));
    // What a client says of itself stands before what the gateway says of it.
    let forged = ask(&nginx, "127.0.0.3", "/metrics", &["-H", "X-Forwarded-For: 127.0.0.2"])?;
    assert_eq!(forged, (403, NOT_ALLOWED.to_owned()));
    Ok(())
}

#[test]
fn the_gateways_own_restriction_suffices_and_opens_the_metrics_alone() -> Result<()> {
    let _alone = alone()?;
    let port = free_port()?;
    let nginx = gateway(port, "allow 127.0.0.2; deny all;")?;
    let listen = format!("127.0.0.1:{port}");
    let _agent = Agent::start(&[nginx.selector()], &["--listen", &listen])?;
    assert_eq!(ask(&nginx, "127.0.0.2", "/metrics", &[])?.0, 200);
    assert_eq!(ask(&nginx, "127.0.0.3", "/metrics", &[])?.0, 403);
    for path in
        ["/plugins", "/nginx_status", "/", "/ready", "/metrics/../plugins", "/metrics/%2e%2e/plugins", "//plugins"]
    {
        let (status, body) = ask(&nginx, "127.0.0.2", path, &[])?;
        assert_eq!(status, 404, "{path}: {body}");
    }
    // Every client of a gateway comes from loopback, and none of them changes anything.
    for more in [
        ["-d", "name=prometheus"].as_slice(),
        &["-d", "name=prometheus", "-H", "X-Forwarded-For: 127.0.0.1"],
        &["-d", "name=prometheus", "-H", "Kong-Admin-Token: guess"],
    ] {
        let (status, body) = ask(&nginx, "127.0.0.2", "/plugins", more)?;
        assert_eq!(status, 403, "{more:?}: {body}");
    }
    Ok(())
}
