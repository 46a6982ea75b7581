//! Things by number, numbers used again.

/// A table whose free places are filled first.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Slab<T> {
        Slab { places: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, thing: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.places[number as usize] = Some(thing);
            return number;
        }
        let number = u32::try_from(self.places.len()).expect("fewer than 2^32 things are in flight");
        self.places.push(Some(thing));
        number
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.places.get_mut(number as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let thing = self.places.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(thing)
    }

    /// Keep only what `wanted` says.
    pub(super) fn retain(&mut self, wanted: impl Fn(&T) -> bool) {
        for (number, place) in (0..).zip(&mut self.places) {
            if place.as_ref().is_some_and(|thing| !wanted(thing)) {
                *place = None;
                self.free.push(number);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
