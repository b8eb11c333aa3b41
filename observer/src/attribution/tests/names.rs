//! Names whose addresses come from look-ups and from name servers.

use super::*;
use crate::dns::{Address, Question, Target};

const S: Nanoseconds = 1_000_000_000;
const HERE: u32 = 1;
const THERE: u32 = 2;

const SHOP: &str = "
services:
- {name: orders, host: orders.test, port: 8080}
- {name: users, host: users.test, port: 8080}
- {name: fixed, url: 'http://10.0.0.9:8080'}
";

fn says(name: &str, addresses: &[&str], ttl_s: u32) -> Answer {
    let address = |ip: &&str| Address { ip: ip.parse().unwrap(), port: None, ttl_s };
    let addresses = addresses.iter().map(address).collect();
    Answer { name: name.to_owned(), question: Question::A, addresses, targets: Vec::new() }
}

fn at(attribution: &mut Attribution, network: u32, time_ns: Nanoseconds, peer: &str) -> String {
    let upstream = UpstreamFacts { network, time_ns, ..to(ip(peer), "", "") };
    text(attribution.attribute(&get("x", "/"), Some(&upstream)))
}

fn looked_up(attribution: &mut Attribution, network: u32, name: &str, addresses: &[&str]) {
    let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
    attribution.resolved(network, name, &addresses);
}

#[test]
fn what_the_gateway_was_told_wins_over_look_ups_while_it_holds() {
    let mut shop = own(SHOP);
    looked_up(&mut shop, 0, "orders.test", &["10.0.0.1"]);
    looked_up(&mut shop, 0, "users.test", &["10.0.0.2"]);
    shop.answered(HERE, &says("orders.test", &["10.0.0.2"], 60), 100 * S);
    shop.answered(HERE, &says("users.test", &["10.0.0.3"], 30), 100 * S);
    for (time, peer, expected) in [
        (100, "10.0.0.2:8080", "orders"),
        (100, "10.0.0.3:8080", "users"),
        (100, "10.0.0.1:8080", "10.0.0.1:8080"),
        // The users' answer is over, and the look-up's address is theirs again, and still the orders'.
        (140, "10.0.0.3:8080", "users"),
        (170, "10.0.0.2:8080", "users"),
        (170, "10.0.0.1:8080", "orders"),
        (100, "10.0.0.9:8080", "fixed"),
    ] {
        assert_eq!(at(&mut shop, HERE, time * S, peer), expected, "{peer} after {time} s");
    }
}

#[test]
fn an_answer_says_nothing_of_the_other_family() {
    let mut shop = own(SHOP);
    looked_up(&mut shop, 0, "orders.test", &["10.0.0.1", "fd00::1"]);
    shop.answered(HERE, &says("orders.test", &["10.0.0.2"], 60), 0);
    assert_eq!(at(&mut shop, HERE, S, "[fd00::1]:8080"), "orders");
    assert_eq!(at(&mut shop, HERE, S, "10.0.0.1:8080"), "10.0.0.1:8080");
}

#[test]
fn an_answer_without_time_to_live_holds_for_the_connect_after_it() {
    let mut shop = own(SHOP);
    looked_up(&mut shop, 0, "users.test", &["10.0.0.1"]);
    shop.answered(HERE, &says("orders.test", &["10.0.0.1"], 0), 100 * S);
    looked_up(&mut shop, 0, "users.test", &[]);
    assert_eq!(at(&mut shop, HERE, 100 * S + S / 2, "10.0.0.1:8080"), "orders");
}

#[test]
fn an_answer_that_is_over_still_names_what_nothing_else_does() {
    let mut shop = own(SHOP);
    shop.answered(HERE, &says("orders.test", &["10.0.0.1"], 5), 0);
    assert_eq!(at(&mut shop, HERE, 3600 * S, "10.0.0.1:8080"), "orders", "a kept connection");
    shop.answered(HERE, &says("users.test", &["10.0.0.1"], 5), 3600 * S);
    assert_eq!(at(&mut shop, HERE, 3601 * S, "10.0.0.1:8080"), "users", "the address is another's now");
}

#[test]
fn equal_addresses_in_two_network_namespaces_are_kept_apart() {
    let mut shop = own(SHOP);
    looked_up(&mut shop, 0, "orders.test", &["10.0.0.7"]);
    looked_up(&mut shop, HERE, "orders.test", &["10.0.0.1"]);
    looked_up(&mut shop, THERE, "users.test", &["10.0.0.1"]);
    shop.answered(HERE, &says("users.test", &["10.0.0.2"], 60), 0);
    shop.answered(THERE, &says("orders.test", &["10.0.0.2"], 60), 0);
    for (network, peer, expected) in [
        (HERE, "10.0.0.1:8080", "orders"),
        (THERE, "10.0.0.1:8080", "users"),
        (HERE, "10.0.0.2:8080", "users"),
        (THERE, "10.0.0.2:8080", "orders"),
        // What the host's resolver says holds where nobody looked it up.
        (HERE, "10.0.0.7:8080", "10.0.0.7:8080"),
        (THERE, "10.0.0.7:8080", "10.0.0.7:8080"),
        (3, "10.0.0.7:8080", "orders"),
    ] {
        assert_eq!(at(&mut shop, network, S, peer), expected, "{peer} in {network}");
    }
}

#[test]
fn servers_are_told_with_their_ports() {
    let mut shop = own(SHOP);
    let servers = Answer {
        name: "_http._tcp.orders.test".to_owned(),
        question: Question::Srv,
        addresses: vec![Address { ip: "10.0.0.1".parse().unwrap(), port: Some(9001), ttl_s: 60 }],
        targets: vec![Target { name: "node.test".to_owned(), port: 9002, ttl_s: 60 }],
    };
    shop.answered(HERE, &servers, 0);
    shop.answered(HERE, &says("node.test", &["10.0.0.2"], 60), S);
    for (peer, expected) in [
        ("10.0.0.1:9001", "orders"),
        ("10.0.0.1:8080", "10.0.0.1:8080"),
        ("10.0.0.2:9002", "orders"),
        ("10.0.0.2:8080", "10.0.0.2:8080"),
    ] {
        assert_eq!(at(&mut shop, HERE, 2 * S, peer), expected, "{peer}");
    }
}

#[test]
fn names_that_nobody_asked_for_are_not_kept() {
    let mut shop = own(SHOP);
    shop.answered(HERE, &says("elsewhere.test", &["10.0.0.1"], 60), 0);
    assert_eq!(at(&mut shop, HERE, 0, "10.0.0.1:8080"), "10.0.0.1:8080");
}

#[test]
fn a_new_configuration_takes_over_what_names_were_resolved_to() {
    let mut before = own(SHOP);
    looked_up(&mut before, THERE, "users.test", &["10.0.0.3"]);
    before.answered(HERE, &says("orders.test", &["10.0.0.1"], 60), 0);
    let mut after = own(&SHOP.replace("name: orders", "name: renamed"));
    after.take_over(&mut before);
    assert_eq!(at(&mut after, HERE, S, "10.0.0.1:8080"), "renamed");
    assert_eq!(at(&mut after, THERE, S, "10.0.0.3:8080"), "users");
}

#[test]
fn addresses_of_one_name_are_limited_and_the_first_to_be_over_goes_first() {
    let mut shop = own(SHOP);
    let ip = |nth: u32| format!("10.1.{}.{}", nth / 256, nth % 256);
    for nth in 0..300 {
        shop.answered(HERE, &says("orders.test", &[&ip(nth)], 1000 + nth), 0);
    }
    assert_eq!(at(&mut shop, HERE, S, "10.1.0.0:8080"), "10.1.0.0:8080");
    assert_eq!(at(&mut shop, HERE, S, &format!("{}:8080", ip(299))), "orders");
    let known = (0..300).filter(|&nth| at(&mut shop, HERE, S, &format!("{}:8080", ip(nth))) == "orders").count();
    assert_eq!(known, crate::attribution::names::ANSWERS_MAX);
}
