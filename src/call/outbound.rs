//! Outbound calls from the moment at which the switch began with them until their leg is here, or it is clear that none comes.
//!
//! Runs in: the control thread, and tests in virtual time: pure. Owns those that are under way. Never reads a clock.
//! Invariant: each ends once, with its leg or with what became of it, within its time; and no more are held than there is
//! room for.

use crate::base::call_name::is_same;
use crate::base::command::{AgentName, Destination};
use crate::base::words;
use crate::base::{Instant, RecordId};

/// Calls under way at one time: as many as the event socket has.
const UNDER_WAY_MAX: usize = 1_024;
/// How long an answered call may take to connect to the relay.
const LEG_WITHIN_MS: u64 = 30_000;

/// An outbound call that the switch has begun with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundCall {
    /// Its name for ever, if it never becomes more than this.
    pub record_id: RecordId,
    /// The UUID of its channel.
    pub uuid: String,
    /// Who is called.
    pub to: Destination,
    /// The number that is shown to the one who is called.
    pub from: Option<Destination>,
    /// Who was to speak.
    pub agent: Option<AgentName>,
    /// Where the switch is.
    pub switch: String,
    /// When the switch began.
    pub begun_at: Instant,
}

words! {
    /// What became of an outbound call that has no leg.
    pub(crate) enum OutboundEnd {
        /// The line was taken.
        Busy = "busy",
        /// Nobody answered.
        NoAnswer = "no_answer",
        /// It was declined.
        Rejected = "rejected",
        /// It could not be connected: no such number, no route, a gateway that is down.
        NotConnected = "not_connected",
        /// It was answered, and its leg never came here.
        NoLeg = "no_leg",
        /// The switch never said.
        Unknown = "not_known",
    }
}

impl OutboundEnd {
    /// What a cause of the switch (`USER_BUSY`, or `-ERR`'s text) means.
    pub(crate) fn of_cause(cause: &str) -> Self {
        match cause {
            "USER_BUSY" => Self::Busy,
            "NO_ANSWER"
            | "NO_USER_RESPONSE"
            | "ALLOTTED_TIMEOUT"
            | "PROGRESS_TIMEOUT"
            | "RECOVERY_ON_TIMER_EXPIRE" => Self::NoAnswer,
            "CALL_REJECTED" => Self::Rejected,
            _ => Self::NotConnected,
        }
    }

    /// Who ended it, as with calls that had a leg.
    pub(crate) const fn by(self) -> &'static str {
        match self {
            Self::Busy | Self::NoAnswer | Self::Rejected => "caller",
            Self::NotConnected | Self::Unknown => "network",
            Self::NoLeg => "us",
        }
    }
}

/// Where an outbound call stands.
#[derive(Debug)]
struct UnderWay {
    call: OutboundCall,
    answered: bool,
    /// The connection over which the switch would tell more is lost: what the channel's end says has to do.
    unconfirmed: bool,
    /// The cause with which its channel ended.
    hung_up: Option<String>,
    until: Instant,
}

/// An outbound call that is over without a leg, how, and the switch's word for it.
pub(crate) type Unheld = (OutboundCall, OutboundEnd, Option<String>);

/// See the head of this file.
#[derive(Debug, Default)]
pub struct OutboundCalls {
    under_way: Vec<UnderWay>,
}

impl OutboundCalls {
    /// The switch has begun with a call and will have said by then what became of it. Returns whether there is room.
    pub fn begun(&mut self, call: OutboundCall, until: Instant) -> bool {
        let room = self.under_way.len() < UNDER_WAY_MAX;
        if room {
            let under_way = UnderWay { call, answered: false, unconfirmed: false, hung_up: None, until };
            self.under_way.push(under_way);
        }
        room
    }

    /// The leg of a call with this UUID is here. Returns whether that is an outbound call's.
    pub fn connected(&mut self, uuid: &str) -> bool {
        self.position(uuid).map(|at| self.under_way.swap_remove(at)).is_some()
    }

    /// The call was answered.
    pub(crate) fn answered(&mut self, now: Instant, uuid: &str) -> Option<Unheld> {
        let at = self.position(uuid)?;
        let call = &mut self.under_way[at];
        (call.answered, call.until) = (true, now.plus_ms(LEG_WITHIN_MS));
        // Its channel may have ended in the meantime.
        if call.hung_up.is_some() { Some(self.end(at)) } else { None }
    }

    /// The switch did not connect the call, for this cause.
    pub(crate) fn not_answered(&mut self, uuid: &str, cause: &str) -> Option<Unheld> {
        let at = self.position(uuid)?;
        self.under_way[at].hung_up = Some(cause.to_owned());
        Some(self.end(at))
    }

    /// Nobody knows what the switch made of the call.
    pub(crate) fn unconfirmed(&mut self, uuid: &str) -> Option<Unheld> {
        let at = self.position(uuid)?;
        self.under_way[at].unconfirmed = true;
        if self.under_way[at].hung_up.is_some() { Some(self.end(at)) } else { None }
    }

    /// The call's channel has ended. Before it was answered that may be one of several that were tried.
    pub(crate) fn hung_up(&mut self, uuid: &str, cause: &str) -> Option<Unheld> {
        let at = self.position(uuid)?;
        let call = &mut self.under_way[at];
        call.hung_up = Some(cause.to_owned());
        if call.answered || call.unconfirmed { Some(self.end(at)) } else { None }
    }

    /// A call whose time is over, if there is one.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<Unheld> {
        let at = self.under_way.iter().position(|call| now >= call.until)?;
        Some(self.end(at))
    }

    /// When [`OutboundCalls::overdue`] has something to say.
    pub fn deadline(&self) -> Option<Instant> {
        self.under_way.iter().map(|call| call.until).min()
    }

    fn position(&self, uuid: &str) -> Option<usize> {
        self.under_way.iter().position(|call| is_same(&call.call.uuid, uuid))
    }

    fn end(&mut self, at: usize) -> Unheld {
        let UnderWay { call, answered, hung_up, .. } = self.under_way.swap_remove(at);
        let end = match &hung_up {
            _ if answered => OutboundEnd::NoLeg,
            Some(cause) => OutboundEnd::of_cause(cause),
            None => OutboundEnd::Unknown,
        };
        (call, end, hung_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn call(uuid: &str) -> OutboundCall {
        OutboundCall {
            record_id: RecordId::new(1, 1),
            uuid: uuid.into(),
            to: Destination::new("100").expect("a number"),
            from: None,
            agent: None,
            switch: "127.0.0.1:8021".into(),
            begun_at: at(0),
        }
    }

    fn ringing(uuid: &str) -> OutboundCalls {
        let mut calls = OutboundCalls::default();
        assert!(calls.begun(call(uuid), at(75)));
        calls
    }

    fn how(end: Option<Unheld>) -> (OutboundEnd, Option<String>) {
        let (_, end, cause) = end.expect("it is over");
        (end, cause)
    }

    #[test]
    fn a_call_that_nobody_answers_ends_with_the_switchs_cause() {
        for (cause, end) in [
            ("USER_BUSY", OutboundEnd::Busy),
            ("NO_ANSWER", OutboundEnd::NoAnswer),
            ("CALL_REJECTED", OutboundEnd::Rejected),
            ("UNALLOCATED_NUMBER", OutboundEnd::NotConnected),
            ("GATEWAY_DOWN", OutboundEnd::NotConnected),
            ("", OutboundEnd::NotConnected),
        ] {
            let mut calls = ringing("a");
            // The channel's own end comes first; another one may be tried then.
            assert_eq!(calls.hung_up("A", "NORMAL_UNSPECIFIED"), None);
            assert_eq!(how(calls.not_answered("a", cause)), (end, Some(cause.to_owned())));
            assert_eq!((calls.not_answered("a", cause), calls.deadline()), (None, None), "once");
        }
    }

    #[test]
    fn an_answered_call_ends_without_a_leg_when_it_hangs_up_or_its_time_is_over() {
        let mut calls = ringing("a");
        assert_eq!((calls.answered(at(9), "a"), calls.deadline()), (None, Some(at(39))));
        assert_eq!(calls.overdue(at(38)), None);
        assert_eq!(how(calls.overdue(at(39))), (OutboundEnd::NoLeg, None));
        let mut calls = ringing("a");
        calls.answered(at(9), "a");
        assert_eq!(how(calls.hung_up("a", "NORMAL_CLEARING")).0, OutboundEnd::NoLeg);
        let mut calls = ringing("a");
        calls.answered(at(9), "a");
        assert!(calls.connected("A") && !calls.connected("a"), "its own record follows");
        assert_eq!(calls.deadline(), None);
    }

    #[test]
    fn where_the_event_socket_is_lost_the_channels_end_tells_or_the_time() {
        let mut calls = ringing("a");
        assert_eq!(calls.unconfirmed("a"), None);
        assert_eq!(how(calls.hung_up("a", "USER_BUSY")).0, OutboundEnd::Busy);
        let mut calls = ringing("a");
        calls.unconfirmed("a");
        assert_eq!(how(calls.overdue(at(75))), (OutboundEnd::Unknown, None));
    }

    #[test]
    fn no_more_are_held_than_there_is_room_for() {
        let mut calls = OutboundCalls::default();
        for n in 0..UNDER_WAY_MAX {
            assert!(calls.begun(call(&n.to_string()), at(75)));
        }
        assert!(!calls.begun(call("more"), at(75)));
    }
}
