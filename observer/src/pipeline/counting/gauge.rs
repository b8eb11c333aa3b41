//! The connection states, as nginx's `stub_status` counts them.

use crate::connection::Phase;
use crate::gateways::{GatewayId, Gateways};
use crate::metrics::{ConnectionGauge, Metrics};

/// Connection states by gateway.
#[derive(Debug)]
pub struct Gauge {
    per_gateway: bool,
    states: Vec<ConnectionGauge>,
    is_changed: bool,
}

impl Gauge {
    pub fn new(per_gateway: bool) -> Self {
        Gauge { per_gateway, states: Vec::new(), is_changed: false }
    }

    /// A client's connection; `is_new` if it was accepted under our eyes.
    pub fn opened(&mut self, gateway: GatewayId, is_new: bool) {
        let state = self.of(gateway);
        state.active += 1;
        state.waiting += 1;
        if is_new {
            state.accepted += 1;
            state.handled += 1;
        }
    }

    /// A client's connection is over.
    pub fn closed(&mut self, gateway: GatewayId, phase: Phase) {
        let state = self.of(gateway);
        // With the gateway gone, its counts went.
        if *counter(state, phase) > 0 {
            *counter(state, phase) -= 1;
            state.active = state.active.saturating_sub(1);
        }
    }

    /// The gateway is gone, and its counts of what is open with it.
    pub fn ended(&mut self, gateway: GatewayId) {
        let state = self.of(gateway);
        (state.active, state.reading, state.writing, state.waiting) = (0, 0, 0, 0);
    }

    /// A connection went from one phase to another.
    pub fn moved(&mut self, gateway: GatewayId, from: Phase, to: Phase) {
        if from != to {
            let state = self.of(gateway);
            if *counter(state, from) > 0 {
                *counter(state, from) -= 1;
                *counter(state, to) += 1;
            }
        }
    }

    /// A request began.
    pub fn requested(&mut self, gateway: GatewayId) {
        self.of(gateway).total += 1;
    }

    /// What was taken for a request is none for the gateway.
    pub fn retracted(&mut self, gateway: GatewayId) {
        let state = self.of(gateway);
        state.total = state.total.saturating_sub(1);
    }

    /// Hands the states to the metrics, if any changed.
    pub fn publish(&mut self, gateways: &Gateways, metrics: &mut Metrics) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        if self.per_gateway {
            for (id, state) in self.states.iter_mut().enumerate() {
                state.gateway = Some(gateways.label(id));
                metrics.connections(state);
            }
        } else {
            let sum = self.states.iter().fold(ConnectionGauge::default(), |sum, state| ConnectionGauge {
                gateway: None,
                accepted: sum.accepted + state.accepted,
                active: sum.active + state.active,
                handled: sum.handled + state.handled,
                reading: sum.reading + state.reading,
                total: sum.total + state.total,
                waiting: sum.waiting + state.waiting,
                writing: sum.writing + state.writing,
            });
            metrics.connections(&sum);
        }
    }

    fn of(&mut self, gateway: GatewayId) -> &mut ConnectionGauge {
        self.is_changed = true;
        if self.states.len() <= gateway {
            self.states.resize(gateway + 1, ConnectionGauge::default());
        }
        &mut self.states[gateway]
    }
}

fn counter(state: &mut ConnectionGauge, phase: Phase) -> &mut u64 {
    match phase {
        Phase::Waiting => &mut state.waiting,
        Phase::Reading => &mut state.reading,
        Phase::Writing => &mut state.writing,
    }
}
