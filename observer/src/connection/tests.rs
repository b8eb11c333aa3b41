mod bodies;
mod endings;
mod gaps;
mod loss;
mod requests;
mod wire;
