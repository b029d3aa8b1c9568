//! Tests of the pool, in made-up time.

use super::*;
use crate::codec::Provider;

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

fn call(slot: u32) -> CallId {
    CallId { slot, generation: 1 }
}

fn terms(name: &str, max_sessions: usize) -> CredentialTerms {
    CredentialTerms { name: name.into(), max_sessions, model_prefix: None, needs_token: false }
}

/// `a` and `b` with so many sessions each, and a first back-off of a second.
fn pool(max_sessions: usize) -> Pool {
    let pool = Pool::new(1000);
    pool.replace(vec![terms("a", max_sessions), terms("b", max_sessions)]);
    pool
}

fn quota() -> LinkEnd {
    Provider::Gemini.end_of_close(Some(1011), b"You exceeded your current quota")
}

fn internal() -> LinkEnd {
    Provider::Gemini.end_of_close(Some(1011), b"Internal error encountered.")
}

fn name(pool: &Pool, slot: u32) -> Option<String> {
    pool.name_of(call(slot)).map(|name| name.to_string())
}

#[test]
fn two_credentials_with_three_sessions_each_serve_six_calls_in_order_and_refuse_two() {
    let pool = pool(3);
    let admitted: Vec<_> = (0..8).map(|slot| pool.admit(at(0), call(slot))).collect();
    assert_eq!(admitted[..6], [Ok(()); 6]);
    assert_eq!(admitted[6..], [Err(RefusalReason::NoCapacity); 2]);
    assert_eq!((pool.sessions("a"), pool.sessions("b")), (3, 3));
    assert_eq!((name(&pool, 2).as_deref(), name(&pool, 3).as_deref()), (Some("a"), Some("b")));
    assert_eq!(pool.would_admit(at(0)), Err(RefusalReason::NoCapacity));
    pool.release(at(1), call(1));
    pool.release(at(1), call(1));
    assert_eq!(pool.sessions("a"), 2, "given back once");
    assert_eq!(pool.admit(at(2), call(9)), Ok(()));
    assert_eq!(name(&pool, 9).as_deref(), Some("a"));
}

#[test]
fn no_limit_is_no_limit() {
    let pool = pool(0);
    assert!((0..1000).all(|slot| pool.admit(at(0), call(slot)).is_ok()));
    assert_eq!(pool.sessions("a"), 1000);
}

#[test]
fn a_used_up_quota_is_left_at_once_and_taken_back_by_one_trial() {
    let pool = pool(3);
    pool.admit(at(0), call(0)).expect("room");
    let change = pool.link_ended(at(10), Some(call(0)), 0, &quota(), true).expect("left");
    assert!(matches!(&change, Change::Left { name, for_ms: 1000, .. } if &**name == "a"), "{change}");
    assert_eq!(pool.link_ended(at(11), Some(call(0)), 0, &quota(), true), None, "said once");
    // The call itself goes on with the other one, and so do new ones.
    let chosen = pool.choose(at(12), call(0), &[0]).expect("b has room");
    assert_eq!((chosen.number, chosen.moved), (1, true));
    assert_eq!((pool.sessions("a"), pool.sessions("b")), (0, 1));
    pool.admit(at(1000), call(1)).expect("room");
    assert_eq!(name(&pool, 1).as_deref(), Some("b"));
    // After the back-off one call tries it, and only one.
    pool.admit(at(1010), call(2)).expect("room");
    assert_eq!(name(&pool, 2).as_deref(), Some("a"));
    pool.admit(at(1011), call(3)).expect("room");
    assert_eq!(name(&pool, 3).as_deref(), Some("b"));
    assert_eq!(pool.ready(call(1), 1), None);
    let change = pool.ready(call(2), 0).expect("taken back");
    assert_eq!(change, Change::TakenBack { name: "a".into() });
    pool.admit(at(1012), call(4)).expect("room");
    assert_eq!(name(&pool, 4).as_deref(), Some("a"));
}

#[test]
fn each_failed_trial_doubles_the_back_off_up_to_five_minutes() {
    let pool = Pool::new(1000);
    pool.replace(vec![terms("a", 1)]);
    let (mut now_ms, mut expected_ms) = (0, 1000);
    for slot in 0..12 {
        assert_eq!(pool.admit(at(now_ms), call(slot)), Ok(()), "{now_ms}");
        let change = pool.link_ended(at(now_ms), Some(call(slot)), 0, &quota(), true);
        assert!(matches!(change, Some(Change::Left { for_ms, .. }) if for_ms == expected_ms), "{change:?}");
        pool.release(at(now_ms), call(slot));
        assert_eq!(pool.admit(at(now_ms + expected_ms - 1), call(99)), Err(RefusalReason::Credentials));
        now_ms += expected_ms;
        expected_ms = (expected_ms * 2).min(300_000);
    }
    pool.admit(at(now_ms), call(50)).expect("a trial");
    pool.ready(call(50), 0).expect("taken back");
    let change = pool.link_ended(at(now_ms), Some(call(50)), 0, &quota(), false);
    assert!(matches!(change, Some(Change::Left { for_ms: 1000, .. })), "it begins anew: {change:?}");
}

#[test]
fn a_trial_without_a_verdict_leaves_the_next_one_to_another_call() {
    let pool = Pool::new(1000);
    pool.replace(vec![terms("a", 5)]);
    pool.admit(at(0), call(0)).expect("room");
    pool.link_ended(at(0), Some(call(0)), 0, &quota(), true).expect("left");
    pool.admit(at(1000), call(1)).expect("the trial");
    assert_eq!(pool.admit(at(1001), call(2)), Err(RefusalReason::Credentials), "one trial at a time");
    pool.release(at(1002), call(1));
    assert_eq!(pool.admit(at(1002), call(2)), Ok(()));
}

#[test]
fn an_error_of_the_service_counts_only_when_it_repeats_without_a_success_between() {
    let pool = pool(0);
    for round in 0..5 {
        assert_eq!(pool.link_ended(at(round), Some(call(0)), 0, &internal(), true), None);
        assert_eq!(pool.link_ended(at(round), Some(call(0)), 0, &LinkEnd::dropped("reset"), true), None);
        assert_eq!(pool.ready(call(0), 0), None);
    }
    let ends: Vec<_> =
        (0..3).map(|n| pool.link_ended(at(n), Some(call(n as u32)), 0, &internal(), true)).collect();
    assert_eq!((ends[0].is_none(), ends[1].is_none(), ends[2].is_some()), (true, true, true));
    // Another call, dialled before, succeeds: it was chance after all.
    assert_eq!(pool.ready(call(9), 0), Some(Change::TakenBack { name: "a".into() }));
}

#[test]
fn the_end_of_a_conversation_says_nothing_of_its_credential_but_where_it_names_the_quota() {
    let pool = pool(0);
    for n in 0..10 {
        for end in
            [internal(), LinkEnd::dropped("reset"), Provider::Gemini.end_of_close(Some(1008), b"aborted")]
        {
            assert_eq!(pool.link_ended(at(n), Some(call(0)), 0, &end, false), None);
        }
    }
    assert!(pool.link_ended(at(20), Some(call(0)), 0, &quota(), false).is_some());
}

#[test]
fn a_success_elsewhere_does_not_disprove_a_used_up_quota() {
    let pool = pool(0);
    pool.link_ended(at(0), Some(call(0)), 0, &quota(), true).expect("left");
    assert_eq!(pool.ready(call(1), 0), None);
    pool.admit(at(1), call(2)).expect("b");
    assert_eq!(name(&pool, 2).as_deref(), Some("b"));
}

#[test]
fn a_running_call_may_try_its_credential_again_where_there_is_no_other_and_a_new_one_may_not() {
    let pool = Pool::new(1000);
    pool.replace(vec![terms("a", 0)]);
    pool.admit(at(0), call(0)).expect("room");
    pool.admit(at(0), call(1)).expect("room");
    assert_eq!(pool.choose(at(0), call(0), &[]).map(|chosen| chosen.number), Some(0));
    pool.ready(call(0), 0);
    pool.link_ended(at(1), Some(call(1)), 0, &quota(), true).expect("left");
    assert_eq!(pool.choose(at(2), call(1), &[]), None);
    assert_eq!(pool.choose(at(2), call(0), &[]).map(|chosen| chosen.moved), Some(false));
    assert_eq!(pool.choose(at(2), call(0), &[0]), None, "not again for the same link");
    assert_eq!(pool.sessions("a"), 2, "the leases are kept until the calls end");
}

#[test]
fn without_a_token_a_credential_is_passed_over() {
    let pool = Pool::new(1000);
    pool.replace(vec![CredentialTerms { needs_token: true, ..terms("vertex", 0) }]);
    assert_eq!(pool.admit(at(0), call(0)), Err(RefusalReason::Credentials));
    assert!(matches!(pool.token_lost(0, "none yet"), Some(Change::NoToken { .. })));
    assert_eq!(pool.token_lost(0, "still none"), None, "nothing has changed");
    assert!(matches!(pool.token_ready(0), Some(Change::Token { .. })));
    assert_eq!(pool.token_ready(0), None);
    assert_eq!(pool.admit(at(0), call(0)), Ok(()));
    assert!(matches!(pool.token_lost(0, "expired"), Some(Change::NoToken { .. })));
    assert_eq!(pool.choose(at(1), call(0), &[]), None);
}

#[test]
fn a_reload_keeps_numbers_and_leases_and_forgets_what_is_gone_with_its_last_call() {
    let pool = pool(1);
    pool.admit(at(0), call(0)).expect("a");
    pool.admit(at(0), call(1)).expect("b");
    let numbers = pool.replace(vec![terms("c", 1), terms("b", 2)]);
    assert_eq!(numbers, [2, 1]);
    assert_eq!((pool.sessions("a"), pool.sessions("b")), (1, 1));
    assert_eq!(pool.unused(), Vec::<usize>::new());
    // A running call stays where its session is.
    assert_eq!(pool.choose(at(1), call(0), &[]).map(|chosen| chosen.number), Some(0));
    pool.admit(at(1), call(2)).expect("c");
    pool.admit(at(1), call(3)).expect("b");
    assert_eq!((name(&pool, 2).as_deref(), name(&pool, 3).as_deref()), (Some("c"), Some("b")));
    pool.release(at(2), call(0));
    assert_eq!(pool.unused(), [0]);
    assert_eq!(pool.admit(at(2), call(4)), Err(RefusalReason::NoCapacity), "a is gone");
}

#[test]
fn a_reload_gives_another_chance() {
    let pool = pool(0);
    pool.link_ended(at(0), Some(call(0)), 0, &quota(), true).expect("left");
    pool.replace(vec![terms("a", 0)]);
    assert_eq!(pool.admit(at(1), call(1)), Ok(()));
}

#[test]
fn texts_name_the_credential_and_what_was_said() {
    let pool = pool(0);
    let change = pool.link_ended(at(0), Some(call(0)), 0, &quota(), true).expect("left");
    let text = change.to_string();
    assert!(text.starts_with("credential \"a\" is left alone for 1.0 s") && text.contains("quota"), "{text}");
}
