mod clients;
mod enabled;
mod gateways;
mod page;
mod random;
mod script;
mod unix;
mod upstreams;
