//! What will happen, by time. Events of the same moment happen in an order drawn from the seed.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::clock::Moment;
use crate::prng::{Prng, Stream};

/// The world's agenda.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    order: Prng,
    count: u64,
}

#[derive(Debug)]
struct Entry<E> {
    key: (Moment, u64, u64),
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl<E> Queue<E> {
    /// An empty one.
    pub(crate) fn new(seed: u64) -> Queue<E> {
        Queue { heap: BinaryHeap::new(), order: Prng::new(seed, Stream::Order), count: 0 }
    }

    /// `event` happens `at` that moment.
    pub(crate) fn push(&mut self, at: Moment, event: E) {
        self.count += 1;
        self.heap.push(Reverse(Entry { key: (at, self.order.bits(), self.count), event }));
    }

    /// The moment of the next event.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.heap.peek().map(|Reverse(entry)| entry.key.0)
    }

    /// The next event and its moment.
    pub(crate) fn pop(&mut self) -> Option<(Moment, E)> {
        self.heap.pop().map(|Reverse(entry)| (entry.key.0, entry.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_ties_by_seed() {
        let drain = |seed| {
            let mut queue = Queue::new(seed);
            queue.push(Moment(9), 100);
            for event in 0..20 {
                queue.push(Moment(5), event);
            }
            queue.push(Moment(1), 200);
            core::iter::from_fn(move || queue.pop()).map(|(_, event)| event).collect::<Vec<_>>()
        };
        let first = drain(1);
        assert_eq!((first[0], first[21]), (200, 100));
        assert_eq!(first, drain(1));
        assert_ne!(first, drain(2));
    }
}
