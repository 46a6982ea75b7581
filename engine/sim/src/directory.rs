//! Names, and the hosts that answer to them: what configurations say of members, and what is so.
//!
//! A member's address is its name and a count of its moves. The configuration of a node is read when its process
//! starts: that of a member that moved since is out of date, and nobody answers there.

/// Who answers where.
#[derive(Debug)]
pub(crate) struct Directory {
    /// The host that answers to each name.
    hosts: Vec<usize>,
    /// How often each node has moved.
    moves: Vec<u32>,
    /// What the operator's configuration says of that.
    written: Vec<u32>,
    /// What each node's process read when it started.
    read: Vec<Vec<u32>>,
    /// Whom the configuration names; each node's own names itself, too.
    named: Vec<bool>,
}

impl Directory {
    /// That many nodes, each where the configuration says.
    pub(crate) fn new(nodes: usize) -> Directory {
        Directory {
            hosts: (0..nodes).collect(),
            moves: vec![0; nodes],
            written: vec![0; nodes],
            read: vec![vec![0; nodes]; nodes],
            named: vec![true; nodes],
        }
    }

    /// Whether the configuration names a node.
    pub(crate) fn set_named(&mut self, node: usize, named: bool) {
        self.named[node] = named;
    }

    /// A process reads its configuration: the addresses of all members, none of who is not named.
    pub(crate) fn on_start(&mut self, node: usize) -> Vec<String> {
        self.read[node].clone_from(&self.written);
        let named = |other: usize| self.named[other] || other == node;
        let known =
            |(other, moves): (usize, &u32)| if named(other) { address(other, *moves) } else { String::new() };
        self.written.iter().enumerate().map(known).collect()
    }

    /// Who answers at an address.
    pub(crate) fn host(&self, address: &str) -> Option<usize> {
        let (node, moves) = parts(address).expect("an address that the configuration named");
        (self.moves[node] == moves).then_some(self.hosts[node])
    }

    /// Whose address that is.
    pub(crate) fn owner(address: &str) -> usize {
        parts(address).expect("an address that the configuration named").0
    }

    /// Two names lead to each other's host from now on, or to their own again.
    pub(crate) fn swap(&mut self, one: usize, other: usize) {
        self.hosts.swap(one, other);
    }

    /// Whether a name leads to its own host.
    pub(crate) fn is_right(&self, node: usize) -> bool {
        self.hosts[node] == node
    }

    /// A node has a new address, of which no configuration tells.
    pub(crate) fn on_moved(&mut self, node: usize) {
        self.moves[node] += 1;
    }

    /// Where a node is.
    pub(crate) fn address(&self, node: usize) -> String {
        address(node, self.moves[node])
    }

    /// The configuration is corrected.
    pub(crate) fn write_down(&mut self) {
        self.written.clone_from(&self.moves);
    }

    /// Whether a node's process knows where everybody else is.
    pub(crate) fn is_informed(&self, node: usize) -> bool {
        let known = |other: &usize| *other == node || self.read[node][*other] == self.moves[*other];
        (0..self.moves.len()).all(|other| known(&other))
    }

    /// Everybody is at home again, and it is written where.
    pub(crate) fn put_right(&mut self) {
        self.hosts = (0..self.hosts.len()).collect();
        self.write_down();
    }
}

fn address(node: usize, moves: u32) -> String {
    format!("node-{node}:{}", 7007 + moves)
}

fn parts(address: &str) -> Option<(usize, u32)> {
    let (name, port) = address.strip_prefix("node-")?.split_once(':')?;
    Some((name.parse().ok()?, port.parse::<u32>().ok()?.checked_sub(7007)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_answers_where_a_node_was_before_it_moved_until_that_is_written_and_read() {
        let mut directory = Directory::new(3);
        let before = directory.on_start(0);
        directory.on_moved(2);
        assert_eq!((directory.host(&before[1]), directory.host(&before[2])), (Some(1), None));
        assert!(directory.is_informed(2) && !directory.is_informed(0));
        assert_eq!(directory.on_start(0), before, "it is not written yet");
        directory.write_down();
        let after = directory.on_start(0);
        assert_eq!((directory.host(&after[2]), directory.is_informed(0)), (Some(2), true));
    }

    #[test]
    fn names_that_are_swapped_lead_to_each_other() {
        let mut directory = Directory::new(2);
        let addresses = directory.on_start(0);
        directory.swap(0, 1);
        assert_eq!(directory.host(&addresses[0]), Some(1));
        assert_eq!((Directory::owner(&addresses[0]), directory.is_right(0)), (0, false));
        directory.swap(0, 1);
        assert!(directory.is_right(0) && directory.is_right(1));
    }
}
