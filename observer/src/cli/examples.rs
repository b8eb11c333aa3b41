//! Examples for each `--help`.

/// Of `observer` itself.
pub(super) const OBSERVER: &str = "\
Examples:
  observer                                        every nginx, openresty or kong on this host
  observer --gateway port:8000 --kong-config kong.yml
  observer top                                    what they do, live
  observer tail --url unix:/run/observer.sock     every exchange as it ends
  observer check                                  what this host allows
  observer record traffic.rec --for 30s && observer replay traffic.rec";

/// Of `observer run`.
pub(super) const RUN: &str = "\
Examples:
  observer run --gateway name:nginx --nginx-conf /etc/nginx/nginx.conf
  observer run --kong-admin http://127.0.0.1:8001 --dialect 3
  observer run --listen 0.0.0.0:9542,allow=10.0.0.0/24,paths=/metrics --user nobody
  observer run --listen unix:/run/observer.sock,mode=0600 --log-format json";

/// Of `observer check`.
pub(super) const CHECK: &str = "\
Examples:
  observer check                                  a row for each thing that is needed, and what to mend
  observer check > check.txt || echo not yet      exit code 0 if this host can be observed";

/// Of `observer record`.
pub(super) const RECORD: &str = "\
Examples:
  observer record traffic.rec                     until Ctrl-C
  observer record traffic.rec --for 30s --gateway port:8000
  observer record traffic.rec --for 5m --user nobody";

/// Of `observer replay`.
pub(super) const REPLAY: &str = "\
Examples:
  observer replay traffic.rec
  observer replay traffic.rec --workers 16 --threads 2 > page.txt
  observer replay traffic.rec --kong-config kong.yml --dialect 3 --no-own-metrics";

/// Of `observer token`.
pub(super) const TOKEN: &str = "\
Examples:
  observer token prometheus --role metrics --auth-file /etc/observer/users > token
  observer token me --role admin --auth-file /etc/observer/users";
