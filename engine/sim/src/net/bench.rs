//! A network run by hand, and what it must do.

use super::*;
use crate::prng::Stream;

const UP: Host = Host { powered: true, life: Some(1), paused: false };
const OFF: Host = Host { powered: false, life: None, paused: false };
const LINK: LinkId = LinkId(2);

/// A network that is run by hand: what each node heard, in order.
struct Bench {
    net: Net,
    now: Moment,
    agenda: Vec<(Moment, NetEvent)>,
    hosts: Vec<Host>,
    heard: Vec<(usize, Heard)>,
    pool: Pool,
}

impl Bench {
    fn new(seed: u64) -> Bench {
        let profile = NetProfile { delay_min: 1000, delay_max: 50_000, spikes: 0, bandwidth: 0, bound: 0 };
        let (delays, resets) = (Prng::new(seed, Stream::Net), Prng::new(seed, Stream::Reset));
        Bench {
            net: Net::new(2, profile, delays, resets, Prng::new(seed, Stream::Wire)),
            now: Moment(0),
            agenda: Vec::new(),
            hosts: vec![UP; 2],
            heard: Vec::new(),
            pool: Pool::default(),
        }
    }

    fn run(&mut self, until: Moment) {
        loop {
            self.agenda.extend(self.net.agenda());
            self.agenda.sort_by_key(|(at, _)| core::cmp::Reverse(*at));
            match self.agenda.pop() {
                Some((at, event)) if at <= until => {
                    self.now = at;
                    let heard = match event {
                        NetEvent::Leave(id, side) => {
                            self.net.on_leave(at, id, side, &self.pool);
                            None
                        }
                        NetEvent::Arrive(id, side) => self.net.on_arrive(at, id, side, &self.hosts),
                        NetEvent::GiveUp(id) => self.net.on_give_up(at, id, &self.hosts),
                    };
                    if let Some((1, Heard::Accepted(id))) = heard {
                        self.net.on_accepted(id, LinkId(1));
                    }
                    self.heard.extend(heard);
                }
                Some(later) => {
                    self.agenda.push(later);
                    break;
                }
                None => break,
            }
        }
        self.now = until;
    }

    fn send(&mut self, frames: core::ops::Range<u8>) {
        for frame in frames {
            assert!(self.net.on_send(self.now, 0, LINK, vec![frame], None));
        }
    }

    fn frames(&self) -> Vec<u8> {
        let frame = |heard: &(usize, Heard)| match heard {
            (1, Heard::Frame(_, bytes)) => Some(bytes[0]),
            _ => None,
        };
        self.heard.iter().filter_map(frame).collect()
    }
}

fn connected(seed: u64) -> Bench {
    let mut bench = Bench::new(seed);
    bench.net.on_connect(bench.now, (0, 1), LINK, Some(1), false);
    bench.run(Moment(10 * MILLIS));
    assert!(bench.heard.contains(&(0, Heard::Connected(LINK))));
    bench
}

#[test]
fn frames_of_one_connection_come_in_order() {
    for seed in 0..20 {
        let mut bench = connected(seed);
        bench.send(0..50);
        bench.run(Moment(100 * MILLIS));
        assert_eq!(bench.frames(), (0..50).collect::<Vec<u8>>());
    }
}

#[test]
fn a_broken_connection_delivers_a_beginning_and_then_its_end() {
    let mut lost_some = false;
    for seed in 0..20 {
        let mut bench = connected(seed);
        bench.send(0..50);
        bench.run(Moment(10 * MILLIS + 30_000));
        assert_eq!(bench.net.open_connections(), 1);
        bench.net.on_reset(bench.now, 0);
        bench.run(Moment(100 * MILLIS));
        let frames = bench.frames();
        assert_eq!(frames, (0..u8::try_from(frames.len()).unwrap()).collect::<Vec<u8>>());
        assert!(matches!(bench.heard.last(), Some((_, Heard::Lost(..)))));
        lost_some |= frames.len() < 50;
    }
    assert!(lost_some);
}

#[test]
fn a_cut_direction_holds_back_and_delivers_late() {
    let mut bench = connected(1);
    bench.net.set_cut(bench.now, 0, 1, true);
    bench.send(0..5);
    bench.run(Moment(2000 * MILLIS));
    assert!(bench.frames().is_empty());
    bench.net.set_cut(bench.now, 0, 1, false);
    bench.run(Moment(4000 * MILLIS));
    assert_eq!(bench.frames(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_connection_to_a_node_without_power_is_given_up() {
    let mut bench = Bench::new(1);
    bench.hosts[1] = OFF;
    bench.net.on_connect(bench.now, (0, 1), LINK, Some(1), false);
    bench.run(Moment(6000 * MILLIS));
    assert_eq!(bench.heard, [(0, Heard::Lost(LINK, Vec::new()))]);
}

#[test]
fn an_end_without_power_leaves_the_other_half_open_until_it_speaks() {
    let mut bench = connected(1);
    bench.hosts[1] = OFF;
    bench.net.on_crash(bench.now, 1, 1, false);
    bench.run(Moment(1000 * MILLIS));
    assert!(!bench.heard.iter().any(|(_, heard)| matches!(heard, Heard::Lost(..))));
    assert_eq!(bench.net.half_open, 1);
    bench.hosts[1] = Host { life: Some(2), ..UP };
    bench.send(0..1);
    bench.run(Moment(2000 * MILLIS));
    assert!(matches!(bench.heard.last(), Some((0, Heard::Lost(LINK, _)))));
    assert!(bench.frames().is_empty(), "the new life hears nothing of the old connection");
}

#[test]
fn a_process_that_stands_still_hears_everything_when_it_goes_on() {
    let mut bench = connected(3);
    bench.hosts[1].paused = true;
    bench.send(0..5);
    bench.run(Moment(1000 * MILLIS));
    assert!(bench.frames().is_empty());
    bench.hosts[1].paused = false;
    bench.net.on_resumed(bench.now, 1);
    bench.run(Moment(1001 * MILLIS));
    assert_eq!(bench.frames(), [0, 1, 2, 3, 4]);
}

fn connected_over(profile: NetProfile) -> Bench {
    let mut bench = Bench::new(1);
    let stream = |stream| Prng::new(1, stream);
    bench.net = Net::new(2, profile, stream(Stream::Net), stream(Stream::Reset), stream(Stream::Wire));
    bench.net.on_connect(bench.now, (0, 1), LINK, Some(1), false);
    bench.run(Moment(10 * MILLIS));
    bench
}

const PLAIN: NetProfile = NetProfile { delay_min: 1000, delay_max: 1000, spikes: 0, bandwidth: 0, bound: 0 };

#[test]
fn a_narrow_line_carries_so_many_bytes_a_second_and_no_more() {
    let mut bench = connected_over(NetProfile { bandwidth: 100_000, ..PLAIN });
    for _ in 0..10 {
        assert!(bench.net.on_send(bench.now, 0, LINK, vec![0; 1000], None));
    }
    bench.run(Moment(60 * MILLIS));
    assert!((4..=5).contains(&bench.frames().len()), "{}", bench.frames().len());
    bench.run(Moment(120 * MILLIS));
    assert_eq!((bench.frames().len(), bench.net.queued), (10, 9));
}

#[test]
fn what_does_not_fit_on_the_way_waits_at_its_sender() {
    let mut bench = connected_over(NetProfile { bound: 2500, ..PLAIN });
    bench.net.set_cut(bench.now, 0, 1, true);
    for frame in 0..10 {
        assert!(bench.net.on_send(bench.now, 0, LINK, vec![frame; 1000], None));
    }
    bench.run(Moment(1000 * MILLIS));
    let conn = bench.net.conns.values().next().unwrap();
    assert_eq!((conn.lanes[0].wire.len(), conn.lanes[0].leaving.len()), (2, 8));
    bench.net.set_cut(bench.now, 0, 1, false);
    bench.run(Moment(2000 * MILLIS));
    assert_eq!(bench.frames(), (0..10).collect::<Vec<u8>>());
}

#[test]
fn a_frame_longer_than_the_bound_comes_through_alone() {
    let mut bench = connected_over(NetProfile { bound: 100, ..PLAIN });
    for frame in 0..3 {
        assert!(bench.net.on_send(bench.now, 0, LINK, vec![frame; 1000], None));
    }
    bench.run(Moment(1000 * MILLIS));
    assert_eq!(bench.frames(), [0, 1, 2]);
}

#[test]
fn the_next_frame_arrives_with_bits_flipped_and_only_that() {
    let mut bench = connected_over(PLAIN);
    bench.net.flip_next(0, 1);
    bench.send(0..3);
    bench.run(Moment(1000 * MILLIS));
    assert_eq!(bench.frames(), [1, 2]);
    let flipped: Vec<&Vec<u8>> = bench
        .heard
        .iter()
        .filter_map(|(_, heard)| if let Heard::Flipped(_, bytes) = heard { Some(bytes) } else { None })
        .collect();
    assert!(flipped.len() == 1 && *flipped[0] != [0], "{flipped:?}");
}

#[test]
fn a_connection_to_where_nobody_is_any_more_is_given_up() {
    let mut bench = Bench::new(1);
    bench.net.on_connect(bench.now, (0, 1), LINK, None, false);
    bench.run(Moment(6000 * MILLIS));
    assert_eq!(bench.heard, [(0, Heard::Lost(LINK, Vec::new()))]);
}
