//! Tests of the hub's rules, without connections.

use alloc::vec;

use super::*;

type Bytes = Rc<[u8]>;

const NOW: Millis = Millis(1_000);

fn hub_with(config: HubConfig) -> Hub<Bytes> {
    let mut hub = Hub::new(config);
    hub.create("a", "video/mp2t", None, NOW).unwrap();
    hub
}

fn hub() -> Hub<Bytes> {
    hub_with(HubConfig::default())
}

fn span(len: usize) -> Bytes {
    vec![7; len].into()
}

fn publish(hub: &mut Hub<Bytes>, seq: u64, reset: bool, now: Millis) -> Published<Bytes> {
    hub.publish("a", Seq::At(seq), reset, "", None, now)
        .unwrap()
}

fn open(hub: &mut Hub<Bytes>, seq: u64) -> Publisher<Bytes> {
    match publish(hub, seq, false, NOW) {
        Published::Open(publisher) => publisher,
        Published::Stale { .. } => panic!("{seq} is stale"),
    }
}

/// Publishes a whole segment of `len` bytes.
fn write(hub: &mut Hub<Bytes>, seq: u64, len: usize) {
    let mut publisher = open(hub, seq);
    hub.append(&mut publisher, span(len), NOW);
    hub.finish(publisher, NOW);
}

fn head(hub: &Hub<Bytes>) -> u64 {
    hub.channel("a").unwrap().borrow().next_write()
}

fn held(hub: &Hub<Bytes>) -> Vec<u64> {
    let mut held: Vec<_> = hub
        .channel("a")
        .unwrap()
        .borrow()
        .held()
        .map(|segment| segment.borrow().seq())
        .collect();
    held.sort_unstable();
    held
}

fn is_missing(hub: &mut Hub<Bytes>, seq: u64) -> bool {
    matches!(
        hub.subscribe("a", Seq::At(seq)),
        Ok(Subscribed::Missing { .. })
    )
}

// === the head and its epochs ===

#[test]
fn the_head_only_goes_forward() {
    let mut hub = hub();
    write(&mut hub, 0, 1);
    write(&mut hub, 100, 1);
    assert_eq!((head(&hub), held(&hub)), (101, vec![100]));
    write(&mut hub, 98, 1);
    assert_eq!((head(&hub), held(&hub)), (101, vec![98, 100]));
}

#[test]
fn a_reset_out_of_the_window_begins_an_epoch() {
    let mut hub = hub();
    (0..10).for_each(|seq| write(&mut hub, seq, 1));
    let writing = open(&mut hub, 10);
    let Published::Open(publisher) = publish(&mut hub, 3, true, NOW) else {
        panic!()
    };
    assert_eq!((head(&hub), held(&hub)), (3, vec![3]));
    assert!(writing.segment.borrow().is_closed());
    hub.finish(publisher, NOW);
    assert_eq!(head(&hub), 4);
}

#[test]
fn who_belongs_to_the_old_epoch_cannot_bring_it_back() {
    for late_byte in [false, true] {
        let mut hub = hub();
        (0..10).for_each(|seq| write(&mut hub, seq, 1));
        let mut parked = open(&mut hub, 10);
        let Published::Open(publisher) = publish(&mut hub, 0, true, NOW) else {
            panic!()
        };
        if late_byte {
            assert_eq!(hub.append(&mut parked, span(1), NOW), Appended::Discarded);
        }
        hub.leave(parked, NOW);
        assert_eq!(head(&hub), 0);
        hub.finish(publisher, NOW);
        assert_eq!(head(&hub), 1);
    }
}

#[test]
fn who_was_far_ahead_and_evicted_does_not_move_the_head() {
    let mut hub = hub();
    write(&mut hub, 0, 1);
    let stray = open(&mut hub, 106);
    write(&mut hub, 1, 1);
    hub.leave(stray, NOW);
    assert_eq!(head(&hub), 2);
}

#[test]
fn number_0_without_publishers_begins_an_epoch() {
    let mut hub = hub();
    write(&mut hub, 0, 1);
    let publisher = open(&mut hub, 1);
    assert!(
        matches!(publish(&mut hub, 0, false, NOW), Published::Open(again) if again.segment.borrow().is_closed())
    );
    assert_eq!(head(&hub), 1, "someone publishes");
    hub.abort(publisher, NOW);
    let mut hub = hub_with(HubConfig::default());
    (0..2).for_each(|seq| write(&mut hub, seq, 1));
    let publisher = open(&mut hub, 0);
    assert_eq!(
        (
            head(&hub),
            held(&hub),
            publisher.segment.borrow().is_closed()
        ),
        (0, vec![0], false)
    );
}

#[test]
fn a_retry_of_number_0_goes_on() {
    let mut hub = hub();
    let mut publisher = open(&mut hub, 0);
    hub.append(&mut publisher, span(3), NOW);
    hub.abort(publisher, NOW);
    let again = open(&mut hub, 0);
    assert_eq!(again.segment.borrow().bytes(), 3);
}

#[test]
fn an_old_number_is_stale_until_the_publisher_is_long_gone() {
    let mut hub = hub();
    (0..10).for_each(|seq| write(&mut hub, seq, 1));
    assert!(
        matches!(publish(&mut hub, 5, false, NOW), Published::Open(again) if again.segment.borrow().is_closed())
    );
    let mut hub = hub_with(HubConfig::default());
    (0..10).for_each(|seq| write(&mut hub, seq, 1));
    let grace = hub.config().abort_grace_ms;
    assert!(matches!(
        publish(&mut hub, 4, false, NOW.plus(grace)),
        Published::Stale { seq: 4 }
    ));
    assert_eq!((head(&hub), held(&hub)), (10, vec![5, 6, 7, 8, 9]));
    assert!(matches!(
        publish(&mut hub, 4, false, NOW.plus(grace + 1)),
        Published::Open(_)
    ));
    assert_eq!((head(&hub), held(&hub)), (4, vec![4]));
}

#[test]
fn a_silent_publisher_is_not_gone() {
    let mut hub = hub();
    (0..10).for_each(|seq| write(&mut hub, seq, 1));
    let _parked = open(&mut hub, 10);
    assert!(matches!(
        publish(&mut hub, 4, false, NOW.plus(1_000_000)),
        Published::Stale { .. }
    ));
}

#[test]
fn a_reset_in_the_window_closes_what_is_lower() {
    let mut hub = hub();
    let publishers: Vec<_> = (0..4).map(|seq| open(&mut hub, seq)).collect();
    publish(&mut hub, 2, true, NOW);
    let closed: Vec<_> = publishers
        .iter()
        .map(|publisher| publisher.segment.borrow().is_closed())
        .collect();
    assert_eq!(closed, [true, true, false, false]);
}

#[test]
fn numbers_near_the_end_do_not_overflow() {
    let mut hub = hub();
    let last = u64::try_from(i64::MAX).unwrap() - 1;
    write(&mut hub, last, 1);
    assert_eq!(head(&hub), last + 1);
    assert!(!is_missing(&mut hub, last + 1) && is_missing(&mut hub, last + 2));
}

// === memory ===

#[test]
fn the_oldest_complete_segments_make_room() {
    let mut hub = hub_with(HubConfig {
        channel_bytes_max: 100,
        ..HubConfig::default()
    });
    (0..4).for_each(|seq| write(&mut hub, seq, 25));
    write(&mut hub, 4, 30);
    assert_eq!(held(&hub), [2, 3, 4]);
    assert!(is_missing(&mut hub, 0) && is_missing(&mut hub, 1) && !is_missing(&mut hub, 2));
}

#[test]
fn an_open_segment_is_not_dropped() {
    let mut hub = hub_with(HubConfig {
        channel_bytes_max: 100,
        ..HubConfig::default()
    });
    let mut open_one = open(&mut hub, 0);
    hub.append(&mut open_one, span(60), NOW);
    write(&mut hub, 1, 30);
    let mut too_much = open(&mut hub, 2);
    assert_eq!(hub.append(&mut too_much, span(80), NOW), Appended::Capped);
    hub.finish(too_much, NOW);
    assert_eq!(
        (held(&hub), head(&hub)),
        (vec![0, 2], 3),
        "1 made room, in vain"
    );
    assert_eq!(hub.append(&mut open_one, span(40), NOW), Appended::Live);
    assert_eq!(hub.append(&mut open_one, span(1), NOW), Appended::Capped);
}

#[test]
fn a_reader_keeps_a_dropped_segment_until_it_is_cut() {
    let mut hub = hub_with(HubConfig {
        channel_bytes_max: 100,
        ..HubConfig::default()
    });
    write(&mut hub, 0, 80);
    let Ok(Subscribed::Found {
        segment, channel, ..
    }) = hub.subscribe("a", Seq::At(0))
    else {
        panic!()
    };
    write(&mut hub, 1, 80);
    assert!(Hub::is_evicted(&channel, &segment) && segment.borrow().bytes() == 80);
    assert!(hub.relieve());
    assert!(segment.borrow().is_cut() && segment.borrow().spans().is_empty());
}

#[test]
fn a_segment_without_readers_is_used_again() {
    let mut hub = hub();
    (0..5).for_each(|seq| write(&mut hub, seq, 1));
    let first = Rc::as_ptr(hub.channel("a").unwrap().borrow().segment(0).unwrap());
    let publisher = open(&mut hub, 5);
    assert_eq!(Rc::as_ptr(&publisher.segment), first);
    assert_eq!(
        (
            publisher.segment.borrow().bytes(),
            publisher.segment.borrow().is_closed()
        ),
        (0, false)
    );
}

#[test]
fn a_hub_holds_so_many_channels() {
    let mut hub: Hub<Bytes> = Hub::new(HubConfig {
        channels_max: 2,
        autocreate: true,
        ..HubConfig::default()
    });
    assert_eq!(
        (
            hub.create("a", "", None, NOW),
            hub.create("b", "", None, NOW)
        ),
        (Ok(true), Ok(true))
    );
    assert_eq!(
        (
            hub.create("a", "", None, NOW),
            hub.create("c", "", None, NOW)
        ),
        (Ok(false), Err(Refusal::TooManyChannels))
    );
    assert_eq!(
        hub.publish("c", Seq::Next, false, "", None, NOW)
            .unwrap_err(),
        Refusal::TooManyChannels
    );
    hub.delete("a").unwrap();
    assert_eq!(hub.create("c", "", None, NOW), Ok(true));
}

// === owners, sweeps, announcements ===

#[test]
fn an_owned_channel_is_deleted_by_its_owner() {
    let mut hub = hub_with(HubConfig {
        owner_delete: true,
        ..HubConfig::default()
    });
    hub.create("mine", "", Some("t0k"), NOW).unwrap();
    for token in [None, Some(""), Some("t0K"), Some("t0k1")] {
        assert_eq!(hub.delete_remotely("mine", token), Err(Refusal::NotOwner));
    }
    assert_eq!(hub.delete_remotely("mine", Some("t0k")), Ok(()));
    assert_eq!(
        hub.delete_remotely("mine", Some("t0k")),
        Err(Refusal::InvalidStream)
    );
    assert_eq!(hub.delete_remotely("a", None), Ok(()), "nobody's");
    let mut hub = hub_with(HubConfig::default());
    hub.create("mine", "", Some("t0k"), NOW).unwrap();
    assert_eq!(hub.delete_remotely("mine", None), Ok(()), "not asked for");
}

#[test]
fn reserved_channels_are_not_swept() {
    let mut hub = hub();
    hub.create("_keep", "", None, NOW).unwrap();
    hub.handle_timeout(NOW.plus(300_000));
    assert_eq!(hub.len(), 2);
    hub.handle_timeout(NOW.plus(300_001));
    assert!(hub.channel("a").is_none() && hub.channel("_keep").is_some());
}

#[test]
fn channels_are_announced_in_order() {
    let mut hub: Hub<Bytes> = Hub::new(HubConfig {
        changefeed: true,
        ..HubConfig::default()
    });
    hub.create(CHANGEFEED, "application/json", None, NOW)
        .unwrap();
    hub.create("a", "", None, NOW).unwrap();
    hub.create("a", "", None, NOW).unwrap();
    hub.create("q\"\\", "", None, NOW).unwrap();
    hub.delete("a").unwrap();
    hub.create("a", "", None, NOW).unwrap();
    hub.handle_timeout(NOW.plus(300_001));
    let expected = [
        r#"{"added":["_changes"]}"#,
        r#"{"added":["a"]}"#,
        r#"{"added":["q\"\\"]}"#,
        r#"{"removed":["a"]}"#,
        r#"{"added":["a"]}"#,
        r#"{"removed":["a"]}"#,
        r#"{"removed":["q\"\\"]}"#,
    ];
    assert_eq!(hub.drain_announcements(), expected);
    assert!(hub.drain_announcements().is_empty());
}

#[test]
fn announcements_are_made_only_when_asked_for_and_within_a_bound() {
    let mut hub = hub();
    assert!(hub.drain_announcements().is_empty());
    let mut hub = hub_with(HubConfig {
        changefeed: true,
        channels_max: 3,
        ..HubConfig::default()
    });
    for _ in 0..10 {
        hub.create("b", "", None, NOW).unwrap();
        hub.delete("b").unwrap();
    }
    assert_eq!(hub.drain_announcements().len(), 6);
}

// === publishers of this process ===

#[test]
fn whole_messages_follow_each_other() {
    let mut hub = hub();
    for (seq, text) in ["one", "two", "three"].iter().enumerate() {
        assert_eq!(
            hub.publish_whole("a", [text.as_bytes().into()], NOW),
            Ok(seq as u64)
        );
    }
    let Ok(Subscribed::Found {
        segment, latest, ..
    }) = hub.subscribe("a", Seq::Current)
    else {
        panic!()
    };
    assert_eq!((&*segment.borrow().spans()[0], latest), (&b"three"[..], 3));
    assert_eq!(
        hub.publish_whole("b", [span(1)], NOW),
        Err(Refusal::NotFound)
    );
}

#[test]
fn a_message_is_not_lost_to_a_closed_segment() {
    let mut hub = hub();
    let Ok(Subscribed::Found { .. }) = hub.subscribe("a", Seq::Next) else {
        panic!()
    };
    hub.close_segment("a", 0).unwrap();
    let seq = hub.publish_whole("a", [span(1)], NOW).unwrap();
    let Ok(Subscribed::Found { segment, .. }) = hub.subscribe("a", Seq::At(seq)) else {
        panic!()
    };
    assert_eq!(segment.borrow().bytes(), 1);
}

#[test]
fn closing_everything_wakes_everyone() {
    let mut hub = hub();
    hub.create("b", "", None, NOW).unwrap();
    for (waiter, name) in ["a", "b"].into_iter().enumerate() {
        let Ok(Subscribed::Found { segment, .. }) = hub.subscribe(name, Seq::Next) else {
            panic!()
        };
        segment
            .borrow_mut()
            .wait(Waiter::try_from(waiter).unwrap(), &mut None);
    }
    hub.close_all();
    let mut woken = Vec::new();
    hub.drain_woken(&mut woken);
    assert_eq!((woken, hub.is_empty()), (vec![0, 1], true));
}

#[test]
fn a_waiter_is_listed_once_and_woken_once() {
    let mut hub = hub();
    let mut publisher = open(&mut hub, 0);
    let (segment, mut ticket, mut woken) = (publisher.segment.clone(), None, Vec::new());
    for _ in 0..3 {
        segment.borrow_mut().wait(4, &mut ticket);
    }
    hub.append(&mut publisher, span(1), NOW);
    hub.append(&mut publisher, span(1), NOW);
    hub.drain_woken(&mut woken);
    assert_eq!(core::mem::take(&mut woken), [4]);
    segment.borrow_mut().wait(4, &mut ticket);
    hub.finish(publisher, NOW);
    hub.drain_woken(&mut woken);
    assert_eq!(woken, [4], "an end is news as well");
}
