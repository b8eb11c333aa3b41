//! nginx's `stub_status` page from the observer's own counts.

use crate::metrics::Reading;
use crate::metrics::families::CONNECTIONS;

/// The text as `ngx_http_stub_status_module` writes it, spaces at the lines' ends included. Gateways are added up.
pub fn status(readings: &[Reading]) -> String {
    let connections = readings.iter().find(|reading| reading.name == CONNECTIONS.name);
    let sum = |state: &str| -> f64 {
        let all = connections.into_iter().flat_map(Reading::numbers);
        all.filter(|(labels, _)| labels.value("state") == state).map(|(_, value)| value).sum()
    };
    format!(
        "Active connections: {} \nserver accepts handled requests\n {} {} {} \nReading: {} Writing: {} Waiting: {} \n",
        sum("active"),
        sum("accepted"),
        sum("handled"),
        sum("total"),
        sum("reading"),
        sum("writing"),
        sum("waiting"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::{ConnectionGauge, Metrics, Options};

    fn gauge(gateway: &str) -> ConnectionGauge {
        let gateway = Some(Arc::from(gateway));
        ConnectionGauge { gateway, accepted: 8, active: 5, handled: 7, reading: 1, total: 31, waiting: 2, writing: 3 }
    }

    #[test]
    fn the_text_is_nginxs_and_gateways_are_added_up() {
        let one =
            "Active connections: 5 \nserver accepts handled requests\n 8 7 31 \nReading: 1 Writing: 3 Waiting: 2 \n";
        let two =
            "Active connections: 10 \nserver accepts handled requests\n 16 14 62 \nReading: 2 Writing: 6 Waiting: 4 \n";
        for (per_gateway_label, expected) in [(false, one), (true, two)] {
            let mut metrics = Metrics::new(Options { per_gateway_label, ..Options::default() });
            metrics.connections(&gauge("g"));
            metrics.connections(&gauge("h"));
            assert_eq!(status(&metrics.registry().gather()), expected);
        }
    }
}
