mod clients;
mod gateways;
mod page;
mod random;
mod reconfigure;
mod script;
mod unix;
mod upstreams;
