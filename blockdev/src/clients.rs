//! All connections of clients.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use seawall_engine::io::{Buf, Done, LetIn, Refusal, RequestId};
use seawall_sender::time::Instant;

use crate::client::{Client, Mark, Wishes};
use crate::counters::{count, set};
use crate::export::nbd::Attachment;
use crate::export::{Catalog, ExportId, Limits, PartId, TaskId};
use crate::gear::{Gear, Token};
use crate::ring::op::{Completion, Descriptor};
use crate::ring::socket;

/// All clients of a driver.
pub(crate) struct Clients {
    slots: Vec<Option<Client>>,
    free: Vec<u32>,
    catalog: Arc<Catalog>,
    limits: Limits,
    connections_max: usize,
    /// How many ever came.
    numbers: u64,
    /// Those that something happened to.
    touched: Vec<u32>,
    /// No client has a deadline before this one.
    deadline: Option<Instant>,
    pub(crate) wishes: Wishes,
}

impl Clients {
    pub(crate) fn new(catalog: Catalog, limits: Limits, connections_max: usize) -> Clients {
        Clients {
            slots: Vec::new(),
            free: Vec::new(),
            catalog: Arc::new(catalog),
            limits,
            connections_max,
            numbers: 0,
            touched: Vec::new(),
            deadline: None,
            wishes: Wishes::default(),
        }
    }

    /// A client came.
    pub(crate) fn accept(&mut self, socket: OwnedFd, now: Instant, gear: &mut Gear) {
        if self.len() >= self.connections_max {
            count(&gear.counters.refusals);
            return;
        }
        count(&gear.counters.clients_accepted);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 clients")
        });
        self.numbers += 1;
        let (socket, catalog) = (Descriptor::new(socket), Arc::clone(&self.catalog));
        let mut client = Client::open(slot, self.numbers, socket, catalog, self.limits, now);
        client.go_on(gear, &mut self.wishes, now);
        self.slots[slot as usize] = Some(client);
        self.touched.push(slot);
    }

    pub(crate) fn on_received(
        &mut self,
        slot: u32,
        completion: Completion<Token>,
        now: Instant,
        gear: &mut Gear,
    ) {
        self.with(slot, |client, wishes| client.on_received(completion, now, gear, wishes));
    }

    pub(crate) fn on_sent(
        &mut self,
        slot: u32,
        completion: Completion<Token>,
        now: Instant,
        gear: &mut Gear,
    ) {
        self.with(slot, |client, wishes| client.on_sent(completion, now, gear, wishes));
    }

    pub(crate) fn on_watched(
        &mut self,
        slot: u32,
        completion: &Completion<Token>,
        now: Instant,
        gear: &mut Gear,
    ) {
        self.with(slot, |client, wishes| client.on_watched(completion, now, gear, wishes));
    }

    /// Before anything is looked at that came: whoever had hung up by now is done with. Its watch may tell only after
    /// what its client sent later, over another connection.
    pub(crate) fn look_around(&mut self, now: Instant, gear: &mut Gear) {
        // Where replies have left, more is looked at as well; and a client that is gone may say so only to them.
        let received = gear.ring.over().filter_map(|token| {
            let (Token::ClientReceive { client } | Token::ClientSend { client }) = token else { return None };
            Some(*client)
        });
        let mut heard: Vec<u32> = received.collect();
        if heard.is_empty() || self.len() < 2 {
            return;
        }
        heard.sort_unstable();
        heard.dedup();
        let slots = (0..).zip(&self.slots).filter_map(|(slot, client)| Some((slot, client.as_ref()?)));
        let (asked, sockets): (Vec<u32>, Vec<&Descriptor>) = slots
            .filter(|(slot, client)| client.lags(heard.binary_search(slot).is_ok()))
            .map(|(slot, client)| (slot, client.socket()))
            .unzip();
        let told = socket::hung_up(sockets.into_iter().map(|socket| &**socket));
        for (slot, how) in asked.into_iter().zip(told) {
            if let Some(how) = how {
                self.with(slot, |client, wishes| client.on_hung_up(how, now, gear, wishes));
            }
        }
    }

    pub(crate) fn on_payload_granted(&mut self, slot: u32, bufs: Vec<Buf>, now: Instant, gear: &mut Gear) {
        self.with(slot, |client, wishes| client.on_payload_granted(bufs, now, gear, wishes));
    }

    pub(crate) fn on_buffers_granted(
        &mut self,
        slot: u32,
        task: TaskId,
        bufs: Vec<Buf>,
        now: Instant,
        gear: &mut Gear,
    ) {
        self.with(slot, |client, wishes| client.on_buffers_granted(task, bufs, now, gear, wishes));
    }

    /// The core answered a request.
    pub(crate) fn on_completed(
        &mut self,
        id: RequestId,
        result: Result<Done, Refusal>,
        now: Instant,
        gear: &mut Gear,
    ) {
        let slot = u32::try_from(id.0 >> 32).expect("32 bits");
        let part = PartId(u32::try_from(id.0 & u64::from(u32::MAX)).expect("32 bits"));
        self.with(slot, |client, wishes| client.on_completed(part, result, now, gear, wishes));
    }

    /// Answers a client that wants to use an export.
    pub(crate) fn on_attached(
        &mut self,
        slot: u32,
        export: ExportId,
        attachment: Attachment,
        knows: LetIn,
        now: Instant,
        gear: &mut Gear,
    ) {
        // Who gave up in the meantime needs no answer.
        if self.slots[slot as usize].is_some() {
            self.with(slot, |client, wishes| {
                client.on_attached(export, attachment, knows, now, gear, wishes)
            });
        }
    }

    /// Ends all connections in order: what is under way is answered.
    pub(crate) fn shut_down(&mut self, now: Instant, gear: &mut Gear) {
        for slot in 0..u32::try_from(self.slots.len()).expect("slots are 32-bit") {
            if self.slots[slot as usize].is_some() {
                self.with(slot, |client, wishes| client.on_shutdown(now, gear, wishes));
            }
        }
    }

    /// Whether something of a connection that is over is still with the core: until it is gone, nobody else may
    /// use the export, or a write that its client gave up could land after what the client writes next.
    pub(crate) fn is_haunted(&self, export: ExportId) -> bool {
        self.slots.iter().flatten().any(|client| client.is_haunting() && client.export() == Some(export))
    }

    /// What had come by now over the connections that use an export.
    pub(crate) fn marks(&self, export: ExportId) -> Vec<Mark> {
        let using = self.slots.iter().flatten().filter(|client| client.export() == Some(export));
        using.map(Client::mark).collect()
    }

    /// Whether the core was given all of that, as far as it was whole and nobody gave it up.
    pub(crate) fn are_past(&self, marks: &mut Vec<Mark>) -> bool {
        marks.retain_mut(|mark| {
            let client = self.slots[mark.slot() as usize].as_ref();
            client.is_some_and(|client| !client.is_past(mark))
        });
        marks.is_empty()
    }

    /// Sends what there is to send, and frees those that are over.
    pub(crate) fn flush(&mut self, now: Instant, gear: &mut Gear) {
        for slot in std::mem::take(&mut self.touched) {
            let Some(client) = self.slots[slot as usize].as_mut() else { continue };
            client.start_send(now, gear);
            match client.deadline() {
                Some(until) => self.deadline = Some(self.deadline.map_or(until, |first| first.min(until))),
                None if client.is_over() => {
                    self.slots[slot as usize] = None;
                    self.free.push(slot);
                }
                None => {}
            }
        }
        set(&gear.counters.clients, self.len() as u64);
    }

    /// Tells those whose deadline passed.
    pub(crate) fn expire(&mut self, now: Instant, gear: &mut Gear) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        self.deadline = None;
        for slot in 0..u32::try_from(self.slots.len()).expect("slots are 32-bit") {
            if self.slots[slot as usize].is_some() {
                self.with(slot, |client, wishes| client.on_deadline(now, gear, wishes));
            }
        }
    }

    /// When to call [`Clients::expire`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How many there are, those that are over but not gone included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn with(&mut self, slot: u32, what: impl FnOnce(&mut Client, &mut Wishes)) {
        let client =
            self.slots[slot as usize].as_mut().expect("a client stays while something of it is anywhere");
        what(client, &mut self.wishes);
        self.touched.push(slot);
    }
}
