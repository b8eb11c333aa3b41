mod bodies;
mod endings;
mod gaps;
mod layers;
mod loss;
mod requests;
mod wire;
