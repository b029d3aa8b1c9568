//! The event socket's session against a scripted switch in virtual time.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

fn id(slot: u32) -> CallId {
    CallId { slot, generation: 1 }
}

fn job(number: u32, send_by: Instant) -> Job {
    Job {
        ticket: Ticket::Command(id(0), number),
        line: format!("uuid_break u-{number} all"),
        send_by,
        awaits: None,
    }
}

fn outbound(channel: &str) -> Job {
    let (reply, _) = tokio::sync::mpsc::channel(1);
    Job {
        ticket: Ticket::Outbound(channel.into(), reply),
        line: "originate x".into(),
        send_by: at(9_000),
        awaits: None,
    }
}

fn session() -> Session {
    Session::new("ClueCon", "j".into(), 60_000)
}

/// What the session sends, taken as the switch would.
fn sent(session: &mut Session) -> String {
    String::from_utf8(std::mem::take(session.unsent())).expect("text")
}

fn receive(session: &mut Session, now: Instant, text: &str) -> Result<(), String> {
    session.receive(now, text.as_bytes())
}

const OK: &str = "Content-Type: command/reply\nReply-Text: +OK\n\n";

fn job_done(name: &str, output: &str) -> String {
    let event =
        format!("Event-Name: BACKGROUND_JOB\nJob-UUID: {name}\nContent-Length: {}\n\n{output}", output.len());
    format!("Content-Type: text/event-plain\nContent-Length: {}\n\n{event}", event.len())
}

fn log_in(session: &mut Session, now: Instant) {
    session.connected(now);
    receive(session, now, "Content-Type: auth/request\n\n").expect("welcome");
    assert_eq!(sent(session), "auth ClueCon\n\n");
    receive(session, now, "Content-Type: command/reply\nReply-Text: +OK accepted\n\n").expect("welcome");
    assert_eq!(
        sent(session),
        "event plain BACKGROUND_JOB CHANNEL_HANGUP DTMF CUSTOM avmd::beep vmd::beep \
         mod_audio_stream::error mod_audio_stream::json mod_audio_fork::json\n\n"
    );
    receive(session, now, OK).expect("welcome");
    assert!(matches!(session.next_news(), Some(News::Ready)));
}

fn answers(session: &mut Session) -> Vec<(u32, CommandResult)> {
    std::iter::from_fn(|| session.next_news())
        .filter_map(|news| match news {
            News::Answered(Ticket::Command(_, number), result) => Some((number, result)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_job_is_matched_with_its_answer_by_name() {
    let mut session = session();
    log_in(&mut session, at(0));
    session.request(at(0), job(1, at(4_000)));
    assert_eq!(sent(&mut session), "bgapi uuid_break u-1 all\nJob-UUID: j-1\n\n");
    session.request(at(1), job(2, at(4_000)));
    assert_eq!(sent(&mut session), "bgapi uuid_break u-2 all\nJob-UUID: j-2\n\n");
    receive(&mut session, at(2), &OK.repeat(2)).expect("fine");
    assert_eq!(answers(&mut session), []);
    let ends = ["other-1", "j-2", "j-1", "j-2"]
        .map(|name| job_done(name, if name == "j-1" { "-ERR No such channel!\n" } else { "+OK\n" }));
    receive(&mut session, at(3), &ends.concat()).expect("fine");
    let refused = CommandError::Refused("No such channel!".into());
    assert_eq!(answers(&mut session), [(2, Ok(())), (1, Err(refused))]);
}

#[test]
fn a_command_without_output_succeeded_and_an_unknown_one_did_not() {
    let mut session = session();
    log_in(&mut session, at(0));
    for (number, output, fine) in [(1, "", true), (2, "uuid_brake: Command not found!\n", false)] {
        session.request(at(0), job(number, at(4_000)));
        sent(&mut session);
        receive(&mut session, at(0), OK).expect("fine");
        receive(&mut session, at(0), &job_done(&format!("j-{number}"), output)).expect("fine");
        let answers = answers(&mut session);
        assert_eq!((answers[0].0, answers[0].1.is_ok()), (number, fine), "{answers:?}");
    }
}

#[test]
fn what_was_sent_when_the_connection_was_lost_is_unconfirmed_and_never_sent_again() {
    let mut session = session();
    log_in(&mut session, at(0));
    session.request(at(0), job(1, at(4_000)));
    // The socket takes half of it; the other job cannot leave.
    session.unsent().drain(..10);
    session.request(at(0), job(2, at(4_000)));
    session.lost();
    let answered = answers(&mut session);
    assert!(matches!(answered[..], [(1, Err(CommandError::Unconfirmed(_)))]), "{answered:?}");
    log_in(&mut session, at(1_000));
    session.tick(at(1_000));
    assert_eq!(sent(&mut session), "bgapi uuid_break u-2 all\nJob-UUID: j-2\n\n", "what was never sent");
}

#[test]
fn what_finds_no_connection_in_time_is_not_sent_later() {
    let mut session = session();
    session.request(at(0), job(1, at(4_000)));
    assert_eq!(session.deadline(), Some(at(4_000)));
    session.tick(at(4_000));
    assert!(matches!(answers(&mut session)[..], [(1, Err(CommandError::NotSent(_)))]));
    log_in(&mut session, at(5_000));
    session.tick(at(5_000));
    assert_eq!(sent(&mut session), "");
}

#[test]
fn a_switch_that_never_answers_does_not_keep_jobs_for_ever() {
    let mut session = session();
    log_in(&mut session, at(0));
    session.request(at(0), job(1, at(4_000)));
    session.tick(session.deadline().expect("a deadline"));
    assert!(matches!(answers(&mut session)[..], [(1, Err(CommandError::Unconfirmed(_)))]));
    assert_eq!(session.deadline(), None);
}

#[test]
fn jobs_without_end_are_refused_and_the_switch_gets_few_at_a_time() {
    let mut session = session();
    log_in(&mut session, at(0));
    for number in 0..QUEUE_MAX as u32 + 100 {
        session.request(at(0), job(number, at(4_000)));
        sent(&mut session);
    }
    let refused = answers(&mut session);
    assert_eq!(refused.len(), 100 - UNANSWERED_MAX);
    assert!(refused.iter().all(|(_, result)| matches!(result, Err(CommandError::NotSent(_)))));
    assert_eq!(session.unanswered.len(), UNANSWERED_MAX);
}

#[test]
fn an_outbound_call_is_answered_when_it_is_begun_and_told_of_when_it_ends() {
    let mut session = session();
    log_in(&mut session, at(0));
    session.request(at(0), outbound("u-9"));
    sent(&mut session);
    receive(&mut session, at(1), OK).expect("fine");
    assert!(matches!(session.next_news(), Some(News::Answered(Ticket::Outbound(..), Ok(())))));
    session.tick(at(30_000));
    receive(&mut session, at(30_000), &job_done("j-1", "-ERR NO_ANSWER\n")).expect("fine");
    let Some(News::Placed(channel, Err(CommandError::Refused(why)))) = session.next_news() else {
        panic!("the end of the outbound call")
    };
    assert_eq!((channel.as_str(), why.as_str()), ("u-9", "NO_ANSWER"));
}

#[test]
fn ringing_calls_do_not_hold_up_commands() {
    let mut session = session();
    log_in(&mut session, at(0));
    for n in 0..2 * UNANSWERED_MAX {
        session.request(at(0), outbound(&format!("u-{n}")));
        sent(&mut session);
        receive(&mut session, at(0), OK).expect("fine");
    }
    session.request(at(0), job(7, at(4_000)));
    assert!(sent(&mut session).starts_with("bgapi uuid_break u-7 all\n"));
}

#[test]
fn a_refused_login_is_told_with_its_remedy() {
    for (greeting, reply, remedy) in [
        ("Content-Type: text/rude-rejection\nContent-Length: 0\n\n", "", "apply-inbound-acl"),
        (
            "Content-Type: auth/request\n\n",
            "Content-Type: command/reply\nReply-Text: -ERR invalid\n\n",
            "esl.password",
        ),
    ] {
        let mut session = session();
        session.connected(at(0));
        let problem =
            receive(&mut session, at(0), greeting).and_then(|()| receive(&mut session, at(0), reply));
        assert!(problem.as_ref().is_err_and(|problem| problem.contains(remedy)), "{problem:?}");
    }
    let mut silent = session();
    silent.connected(at(0));
    assert!(!silent.is_login_overdue(at(LOGIN_MS - 1)) && silent.is_login_overdue(at(LOGIN_MS)));
}

/// What a switch, a network and callers may do.
#[derive(Debug, Clone)]
enum Step {
    Request,
    Connect,
    Lose,
    /// The switch takes what was sent.
    Take,
    Reply(bool),
    /// The switch ends the nth job that it was ever given.
    End(u32),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Request),
        1 => Just(Step::Connect),
        1 => Just(Step::Lose),
        4 => Just(Step::Take),
        3 => any::<bool>().prop_map(Step::Reply),
        3 => (1_u32..12).prop_map(Step::End),
        2 => (0_u64..3_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn every_job_is_sent_at_most_once_and_answered_once(steps in prop::collection::vec(step(), 0..80)) {
        let (mut session, mut now, mut asked) = (session(), at(0), 0_u32);
        let (mut wire, mut news) = (String::new(), Vec::new());
        for step in steps {
            match step {
                Step::Request => {
                    asked += 1;
                    session.request(now, job(asked, now.plus_ms(4_000)));
                }
                Step::Connect => {
                    session.lost();
                    news.extend(answers(&mut session));
                    log_in(&mut session, now);
                    session.tick(now);
                }
                Step::Lose => session.lost(),
                Step::Take => {
                    wire.push_str(&sent(&mut session));
                    session.tick(now);
                }
                Step::Reply(fine) if !session.expected.is_empty() => {
                    let reply = if fine { OK.to_owned() } else { OK.replace("+OK", "-ERR no") };
                    receive(&mut session, now, &reply).expect("fine");
                }
                Step::End(number) if session.state == State::Ready => {
                    // A switch ends only what it has.
                    wire.push_str(&sent(&mut session));
                    receive(&mut session, now, &job_done(&format!("j-{number}"), "+OK")).expect("fine");
                }
                Step::Wait(ms) => {
                    now = now.plus_ms(ms);
                    session.tick(now);
                }
                Step::Reply(_) | Step::End(_) => {}
            }
            news.extend(answers(&mut session));
        }
        while let Some(deadline) = session.deadline().filter(|_| news.len() < asked as usize) {
            now = now.max(deadline);
            session.tick(now);
            news.extend(answers(&mut session));
        }
        let mut answered: HashMap<u32, usize> = HashMap::new();
        news.iter().for_each(|(number, _)| *answered.entry(*number).or_default() += 1);
        prop_assert_eq!(answered.len(), asked as usize);
        prop_assert!(answered.values().all(|times| *times == 1), "{news:?}");
        for number in 1..=asked {
            let times = wire.matches(&format!("uuid_break u-{number} all")).count();
            prop_assert!(times <= 1, "sent {times} times: {number}");
            let done = news.iter().any(|(n, result)| *n == number && result.is_ok());
            let unsent = news.iter().any(|(n, result)| *n == number && matches!(result, Err(CommandError::NotSent(_))));
            prop_assert!(!done || times == 1, "done and never sent: {number}");
            prop_assert!(!unsent || times == 0, "not sent, it says, and sent: {number}");
        }
    }
}

fn text_event(subclass: &str, channel: &str, body: &str) -> String {
    let event = format!(
        "Event-Name: CUSTOM\nEvent-Subclass: {subclass}\nUnique-ID: {channel}\nContent-Length: {}\n\n{body}",
        body.len()
    );
    format!("Content-Type: text/event-plain\nContent-Length: {}\n\n{event}", event.len())
}

fn awaiting(number: u32, channel: &str, word: ChannelWord) -> Job {
    Job { awaits: Some(Awaited { channel: channel.into(), word }), ..job(number, at(2_000)) }
}

#[test]
fn a_job_waits_until_the_switch_says_the_word_on_its_channel_and_holds_no_other_up() {
    let mut session = session();
    log_in(&mut session, at(0));
    session.request(at(0), awaiting(1, "u-1", 7));
    session.request(at(0), job(2, at(4_000)));
    assert_eq!(sent(&mut session), "bgapi uuid_break u-2 all\nJob-UUID: j-1\n\n");
    for (subclass, channel, body) in [
        (TEXT, "u-2", channel_word::text(7)),
        (TEXT, "u-1", channel_word::text(8)),
        (TEXT, "u-1", "tandem_channel".to_owned()),
        ("mod_audio_stream::play", "u-1", channel_word::text(7)),
    ] {
        receive(&mut session, at(1), &text_event(subclass, channel, &body)).expect("fine");
        assert_eq!(sent(&mut session), "", "{subclass} {channel} {body}");
    }
    receive(&mut session, at(2), &text_event(TEXT, "U-1", &channel_word::text(7))).expect("fine");
    assert_eq!(sent(&mut session), "bgapi uuid_break u-1 all\nJob-UUID: j-2\n\n");
    // The word may have come before the job that awaits it.
    receive(&mut session, at(3), &text_event(TEXT_OF_FORK, "u-3", &channel_word::text(9))).expect("fine");
    session.request(at(4), awaiting(3, "u-3", 9));
    assert_eq!(sent(&mut session), "bgapi uuid_break u-3 all\nJob-UUID: j-3\n\n");
}

#[test]
fn a_job_on_a_channel_of_which_the_switch_says_nothing_is_never_sent() {
    let mut session = session();
    log_in(&mut session, at(0));
    session.request(at(0), awaiting(1, "foreign", 7));
    assert_eq!(session.deadline(), Some(at(2_000)));
    session.tick(at(1_999));
    assert_eq!((sent(&mut session).as_str(), answers(&mut session)), ("", vec![]));
    session.tick(at(2_000));
    assert_eq!(answers(&mut session), [(1, Err(CommandError::ForeignChannel))]);
    receive(&mut session, at(2_001), &text_event(TEXT, "foreign", &channel_word::text(7))).expect("fine");
    assert_eq!(sent(&mut session), "");
}
