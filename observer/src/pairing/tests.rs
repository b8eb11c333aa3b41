use std::sync::Arc;

use super::*;
use crate::event::Endpoint;
use crate::exchange::Attempt;
use crate::http::head::Side;

fn head(text: &str) -> Head {
    Head::parse(Side::Request, text.as_bytes()).unwrap()
}

fn exchange(number: u64, text: &str) -> Exchange {
    let mut exchange = Exchange::new(ExchangeId { socket: 1, number }, 0);
    exchange.request.head = Some(Arc::new(head(text)));
    exchange.request.is_complete = true;
    exchange
}

fn attempt() -> Attempt {
    Attempt::new(ExchangeId { socket: 2, number: 0 }, Endpoint::Unix([].into()), 0)
}

fn choose(open: &[Exchange], read_last: Option<u64>, asked: &str) -> Option<(u64, Evidence)> {
    let mut pairing = Pairing::default();
    for exchange in open {
        pairing.client_waits(7, exchange.request.head.as_ref().unwrap(), exchange.id);
    }
    let asked = head(asked);
    let client = read_last.map(|number| ExchangeId { socket: 1, number });
    let lead = Some(Lead { client, is_direct: false, after: None });
    let asked = Asked { head: &asked, process: 7, lead, connected_for: None };
    let find = |id: ExchangeId| {
        open.iter().find(|exchange| exchange.id == id).map(|exchange| Candidate { exchange, client: "10.0.0.7" })
    };
    pairing.choose(asked, find).map(|(id, evidence)| (id.number, evidence))
}

#[test]
fn the_request_read_last_on_the_thread_is_the_one() {
    let open = [exchange(0, "GET /a HTTP/1.1\r\n\r\n"), exchange(1, "GET /a HTTP/1.1\r\n\r\n")];
    assert_eq!(choose(&open, Some(1), "GET /a HTTP/1.1\r\n\r\n"), Some((1, Evidence::ThreadOrder)));
}

#[test]
fn a_rewritten_path_still_goes_by_the_threads_order() {
    let open = [exchange(0, "GET /shop/a HTTP/1.1\r\n\r\n")];
    assert_eq!(choose(&open, Some(0), "GET /internal HTTP/1.1\r\n\r\n"), Some((0, Evidence::ThreadOrder)));
}

#[test]
fn a_waiting_request_for_the_same_target_beats_one_that_has_its_upstream() {
    let mut open = [exchange(0, "GET /a HTTP/1.1\r\n\r\n"), exchange(1, "GET /b HTTP/1.1\r\n\r\n")];
    open[1].attempts.push(attempt());
    assert_eq!(choose(&open, Some(1), "GET /a HTTP/1.1\r\n\r\n"), Some((0, Evidence::Content)));
}

#[test]
fn a_waiting_request_for_the_same_long_target_beats_the_one_read_last_for_another() {
    let open = [exchange(0, "GET /orders/1234 HTTP/1.1\r\n\r\n"), exchange(1, "GET /users/5678 HTTP/1.1\r\n\r\n")];
    assert_eq!(choose(&open, Some(1), "GET /orders/1234 HTTP/1.1\r\n\r\n"), Some((0, Evidence::Content)));
    let short = [exchange(0, "GET /a HTTP/1.1\r\n\r\n"), exchange(1, "GET /users/5678 HTTP/1.1\r\n\r\n")];
    assert_eq!(choose(&short, Some(1), "GET /a HTTP/1.1\r\n\r\n"), Some((1, Evidence::ThreadOrder)));
}

#[test]
fn a_request_id_beats_all_else() {
    let open = [
        exchange(0, "GET /a HTTP/1.1\r\nX-Request-ID: q\r\n\r\n"),
        exchange(1, "GET /a HTTP/1.1\r\nX-Request-ID: r\r\n\r\n"),
    ];
    let asked = "GET /a HTTP/1.1\r\nx-request-id: q\r\n\r\n";
    assert_eq!(choose(&open, Some(1), asked), Some((0, Evidence::RequestId)));
}

#[test]
fn an_answered_exchange_is_no_candidate() {
    let mut open = [exchange(0, "GET /a HTTP/1.1\r\n\r\n")];
    let response = Head::parse(Side::Response, b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    open[0].response.head = Some(Arc::new(response));
    assert_eq!(choose(&open, Some(0), "GET /a HTTP/1.1\r\n\r\n"), None);
}

#[test]
fn nothing_is_chosen_when_nothing_speaks_for_it() {
    let open = [exchange(0, "GET /a HTTP/1.1\r\n\r\n")];
    assert_eq!(choose(&open, None, "POST /b HTTP/1.1\r\n\r\n"), None);
}

#[test]
fn a_forwarded_address_of_another_client_speaks_against_it() {
    let open = [exchange(0, "GET /a HTTP/1.1\r\n\r\n")];
    assert_eq!(choose(&open, None, "GET /b HTTP/1.1\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n"), None);
    let other = "GET /a HTTP/1.1\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n";
    assert_eq!(choose(&open, None, other), Some((0, Evidence::Content)), "the target still agrees");
}

#[test]
fn a_prefix_that_the_gateway_strips_agrees_when_the_gateway_tells_it() {
    let open = [exchange(0, "GET /shop/a HTTP/1.1\r\n\r\n"), exchange(1, "GET /blog/a HTTP/1.1\r\n\r\n")];
    for told in ["X-Forwarded-Prefix: /blog", "X-Forwarded-Prefix: /blog/", "X-Forwarded-Path: /blog/a"] {
        let asked = format!("GET /a HTTP/1.1\r\n{told}\r\n\r\n");
        assert_eq!(choose(&open, None, &asked), Some((1, Evidence::Content)), "{told}");
    }
    assert_eq!(choose(&open, None, "GET /a HTTP/1.1\r\n\r\n"), Some((0, Evidence::Ambiguous)), "nothing tells");
}

#[test]
fn a_path_that_was_rewritten_altogether_agrees_when_the_gateway_tells_it() {
    let open = [exchange(0, "GET /shop/a?b HTTP/1.1\r\n\r\n")];
    let asked = "GET /internal HTTP/1.1\r\nX-Forwarded-Path: /shop/a?b\r\n\r\n";
    assert_eq!(choose(&open, None, asked), Some((0, Evidence::Content)));
}

#[test]
fn of_two_that_are_alike_the_one_with_as_long_a_body_is_the_one() {
    let post = |length: u64| format!("POST /a HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    let open = [exchange(0, &post(3)), exchange(1, &post(5))];
    for (length, expected) in [(3, (0, Evidence::Content)), (5, (1, Evidence::Content)), (4, (0, Evidence::Ambiguous))]
    {
        assert_eq!(choose(&open, None, &post(length)), Some(expected), "{length}");
    }
    let chunked = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(choose(&open, None, chunked), Some((0, Evidence::Ambiguous)), "nothing tells");
}

#[test]
fn a_trace_goes_on_with_another_parent() {
    let open = [
        exchange(0, "GET /a HTTP/1.1\r\ntraceparent: 00-aaaa-1-01\r\n\r\n"),
        exchange(1, "GET /a HTTP/1.1\r\ntraceparent: 00-bbbb-1-01\r\n\r\n"),
    ];
    let asked = "GET /a HTTP/1.1\r\ntraceparent: 00-bbbb-2-01\r\n\r\n";
    assert_eq!(choose(&open, None, asked), Some((1, Evidence::Content)));
    assert_eq!(
        choose(&open, None, "GET /else HTTP/1.1\r\ntraceparent: 00-bbbb-2-01\r\n\r\n"),
        Some((1, Evidence::Content))
    );
}

#[test]
fn a_thread_that_turns_to_many_at_once_does_not_do_it_for_one_client() {
    let mut open = [exchange(0, "GET /a HTTP/1.1\r\n\r\n"), exchange(1, "GET /a HTTP/1.1\r\n\r\n")];
    let asked = head("GET /a HTTP/1.1\r\n\r\n");
    let lead = Some(Lead { client: Some(open[0].id), is_direct: true, after: None });
    let asked = Asked { head: &asked, process: 7, lead, connected_for: None };
    let mut pairing = Pairing::default();
    for exchange in &open {
        pairing.client_waits(7, exchange.request.head.as_ref().unwrap(), exchange.id);
    }
    let mut chosen = Vec::new();
    for _ in 0..6 {
        let find = |id: ExchangeId| {
            open.iter().find(|exchange| exchange.id == id).map(|exchange| Candidate { exchange, client: "" })
        };
        let (id, _) = pairing.choose(asked, find).unwrap();
        chosen.push(id.number);
        open[id.number as usize].attempts.push(attempt());
    }
    assert_eq!(chosen[..3], [0, 0, 0], "a request and its copies");
    assert!(chosen[3..].contains(&1), "{chosen:?}");
}

/// A gateway learns of a refused connect later than of what it read since.
#[test]
fn a_request_whose_upstream_was_refused_is_asked_for_again() {
    let mut open = [exchange(0, "GET /a HTTP/1.1\r\n\r\n"), exchange(1, "GET /b HTTP/1.1\r\n\r\n")];
    open[0].attempts.push(Attempt { ended_ns: Some(1), ..attempt() });
    open[1].attempts.push(attempt());
    let mut pairing = Pairing::default();
    for exchange in &open {
        pairing.client_waits(7, exchange.request.head.as_ref().unwrap(), exchange.id);
    }
    let lead = Some(Lead { client: Some(open[1].id), is_direct: true, after: None });
    for (asked, expected) in [("GET /a HTTP/1.1\r\n\r\n", 0), ("GET /copy HTTP/1.1\r\n\r\n", 1)] {
        let asked = Asked { head: &head(asked), process: 7, lead, connected_for: None };
        let find = |id: ExchangeId| {
            open.iter().find(|exchange| exchange.id == id).map(|exchange| Candidate { exchange, client: "" })
        };
        assert_eq!(pairing.choose(asked, find).map(|(id, _)| id.number), Some(expected));
    }
}

#[test]
fn behind_an_upstream_that_failed_an_error_is_its_clients_and_another_answer_is_not() {
    let failed = Attempt { asked: Some(Arc::new(head("GET /a HTTP/1.1\r\n\r\n"))), ended_ns: Some(4), ..attempt() };
    let answered = |target: &str, status: u16| {
        let mut exchange = exchange(0, &format!("GET {target} HTTP/1.1\r\n\r\n"));
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\n");
        exchange.response.head = Some(Arc::new(Head::parse(Side::Response, head.as_bytes()).unwrap()));
        Pairing::is_passed_on(&failed, &exchange, false)
    };
    assert!(answered("/a", 502) && answered("/rewritten", 502));
    assert!(answered("/a", 200), "a page in place of the error");
    assert!(!answered("/file", 200));
}

/// A client's exchange with this response, and the attempt that its thread heard of just before.
fn is_passed_on(answer: &str, response: &str, path: &str) -> bool {
    let respond = |text: &str| {
        let mut exchange = exchange(0, "GET /a HTTP/1.1\r\n\r\n");
        exchange.response.head = Some(Arc::new(Head::parse(Side::Response, text.as_bytes()).unwrap()));
        exchange.response.head_ns = Some(5);
        exchange
    };
    let mut attempt = attempt();
    attempt.asked = Some(Arc::new(head(&format!("GET {path} HTTP/1.1\r\n\r\n"))));
    attempt.answer = respond(answer).answer();
    Pairing::is_passed_on(&attempt, &respond(response), false)
}

#[test]
fn what_was_read_just_before_is_passed_on_unless_the_two_contradict_each_other() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\n";
    assert!(is_passed_on(answer, answer, "/a"));
    assert!(is_passed_on(answer, answer, "/rewritten"));
    let zipped = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n";
    assert!(is_passed_on(answer, zipped, "/a"));
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\nContent-Type: text/html\r\n\r\n";
    assert!(!is_passed_on(answer, refusal, "/a"));
    let anothers = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Type: text/plain\r\n\r\n";
    assert!(!is_passed_on(answer, anothers, "/a"));
}

#[test]
fn an_upstream_exchange_of_nobodys_is_dropped_when_its_thread_turns_to_something_else() {
    let mut pairing = Pairing::default();
    let mut over = attempt();
    over.ended_ns = Some(9);
    let heard = Touch::Upstream { exchange: over.id, client: None, is_over: true };
    assert_eq!(pairing.loosen(over.clone()), 0);
    assert_eq!(pairing.touch(1, heard), 0);
    assert_eq!(pairing.touch(1, heard), 0, "it is the same");
    assert_eq!(pairing.touch(1, Touch::Client(7)), 1);
    assert!(pairing.claim(over.id).is_none());
}

#[test]
fn no_more_of_nobodys_are_kept_than_there_is_room_for() {
    let mut pairing = Pairing::default();
    let dropped: u64 = (0..LOOSE_MAX as u64 + 10)
        .map(|number| {
            let id = ExchangeId { socket: 9, number };
            pairing.loosen(Attempt { told: number + 1, ..Attempt::new(id, Endpoint::Unix([].into()), 0) })
        })
        .sum();
    assert_eq!((dropped, pairing.loose.len(), pairing.told.len()), (10, LOOSE_MAX, LOOSE_MAX));
}
