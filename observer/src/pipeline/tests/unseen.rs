//! Bodies that a gateway passes on by `splice`.

use super::script::{ORDERS, Script, answer, get};
use super::upstreams::asks_on;

/// A proxy moves bodies by `splice`: the next read tells that bytes have left the socket meanwhile.
#[test]
fn an_answer_is_over_whose_body_left_the_upstreams_socket_unseen() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(9, client, get("/orders"));
    let upstream = script.connected(10, ORDERS);
    for at in [10, 110, 210] {
        if at > 10 {
            script.reads(at - 1, client, get("/orders"));
        }
        script.writes(at, upstream, get("/orders"));
        script.unseen_bytes = if at == 10 { 0 } else { 9 };
        script.reads(at + 10, upstream, HEAD);
        script.unseen_bytes = 0;
        script.writes(at + 10, client, HEAD);
        script.writes(at + 20, client, "123456789");
        let count = at / 100 + 1;
        assert_eq!(script.value("kong_http_status{code=\"200\",service=\"orders\"}"), Some(count));
    }
    assert_eq!(script.told(), ["orders: 200 x3, 99+141 bytes, 33+30=63 ms"]);
    assert_eq!(script.value("observer_pairs_total{evidence=\"thread_order\"}"), Some(3));
}

#[test]
fn an_upload_that_left_the_clients_socket_unseen_hides_no_request_behind_it() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
    let upstream = script.connected(2, ORDERS);
    script.writes(2, upstream, "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123456789");
    script.reads(9, upstream, answer(200, ""));
    script.writes(9, client, answer(200, ""));
    script.unseen_bytes = 9;
    script.reads(20, client, get("/orders"));
    script.unseen_bytes = 0;
    asks_on(&mut script, 20, upstream, "/orders", 5);
    script.writes(25, client, answer(200, "abc"));
    assert_eq!(script.told(), ["orders: 200 x1, 33+41 bytes, 0+5=5 ms", "unobserved: unseen_bytes x1"]);
}
