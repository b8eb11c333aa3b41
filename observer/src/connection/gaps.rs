//! What never came here: records that are missing, and bytes that left a socket unseen.

use super::endings::ends_connection;
use super::{Connection, Moment, Moments, Piece};
use crate::event::{Data, Layer, Role};
use crate::exchange::{Ending, Unobserved};
use crate::http::head::Side;
use crate::http::http1::Input;

impl Connection {
    /// Notices missing records. Two processors may deliver two records in the other order.
    pub(super) fn follow(&mut self, layer: Layer, sequence: u32) -> bool {
        let next_sequence = match layer {
            Layer::Socket => &mut self.next_sequence,
            Layer::Tls => &mut self.layers.next_sequence,
        };
        let ahead = next_sequence.map_or(0, |next| sequence.wrapping_sub(next).cast_signed());
        if ahead < 0 {
            self.missing_records = self.missing_records.saturating_sub(1);
            return false;
        }
        *next_sequence = Some(sequence.wrapping_add(1));
        self.missing_records = self.missing_records.saturating_add(ahead.cast_unsigned());
        ahead > 0
    }

    /// Records that are missing just before this one: whose bytes they told of shows in the offsets of this direction now,
    /// in those of the other with its next record. A request behind them cannot be answered by what went before.
    pub(super) fn account_for_records(&mut self, side: Side, data: &Data<'_>, moments: &mut Moments) {
        if self.follow(data.layer, data.sequence) {
            self.behind = Some(data.direction.opposite());
            let is_told_by_offset = data.offset > *self.offset(data.direction);
            if side == Side::Request && !is_told_by_offset && !self.exchanges.is_empty() {
                self.lose(Unobserved::RecordsLost);
                self.out_of_step = None;
                self.end_all(Ending::Lost(Unobserved::RecordsLost), moments);
            }
        } else if self.behind == Some(data.direction) {
            self.behind = None;
            if data.unseen_bytes == 0 {
                *self.offset(data.direction) = data.offset;
            }
        }
    }

    /// Bytes that the kernel part counted and that never came here.
    pub(super) fn account_for_gap(&mut self, side: Side, data: &Data<'_>, moments: &mut Moments) {
        let missing = data.offset.saturating_sub(*self.offset(data.direction));
        *self.offset(data.direction) = data.offset;
        if missing == 0 {
            return;
        }
        let is_upstreams = self.opened.role == Role::Upstream && side == Side::Response;
        if is_upstreams && missing == u64::from(data.unseen_bytes) && !self.exchanges.is_empty() {
            // How many there were is all that matters of an upstream's body.
            let input = Input::new(&[], missing, &[]);
            let piece = Piece { input, time_ns: data.time_ns, hidden_for: Unobserved::UnseenBytes };
            return self.feed(side, piece, &mut |_| {}, moments);
        }
        let reason = if data.unseen_bytes > 0 { Unobserved::UnseenBytes } else { Unobserved::RecordsLost };
        if reason == Unobserved::RecordsLost {
            self.missing_records = 0;
        } else {
            self.forget_lingering();
        }
        self.lose(reason);
        if !self.exchanges.is_empty() {
            // What goes on behind the gap most likely belongs to these.
            self.out_of_step = None;
        }
        self.end_all(Ending::Lost(reason), moments);
        self.turn = Some(side);
    }

    /// A gateway that took a body unseen did not answer before its end, and reads the next request, unless a head said that
    /// none comes.
    fn forget_lingering(&mut self) {
        let said = self.last_number.filter(|&number| self.exchange(number).is_some_and(ends_connection));
        self.last_number = said;
    }

    /// The gateway closes, and has taken bytes by a way that no hook sees.
    pub(super) fn account_for_unseen(&mut self, bytes: u32, moments: &mut Moments) {
        if bytes == 0 {
            return;
        }
        self.received = self.received.saturating_add(u64::from(bytes));
        self.lose(Unobserved::UnseenBytes);
        if !self.exchanges.is_empty() {
            self.out_of_step = None;
        }
        self.end_all(Ending::Lost(Unobserved::UnseenBytes), moments);
        self.tell_stray(moments);
    }

    pub(super) fn lose(&mut self, reason: Unobserved) {
        self.requests.lose();
        self.responses.lose();
        self.out_of_step = Some(reason);
    }

    /// Tells once of the exchange that bytes out of step belong to.
    pub(super) fn tell_stray(&mut self, moments: &mut Moments) {
        if let Some(reason) = self.out_of_step.take() {
            moments.push(Moment::Stray(reason));
        }
    }
}
