//! Which connections of the admin server are open, and which goes where one more comes than there are places.
//!
//! Runs in: the admin thread. Owns who is connected and whether a request of theirs is under way.
//! Never closes a connection while it is being answered: fewer requests than connections may be under way.
//! Invariant: a new connection always finds a place, so that `/admit` is answered whoever else is connected: of the address
//! that has most, the one goes that has waited longest for something to be asked on it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::address::party;

/// Which connection, counted from 1 since the start.
pub(super) type ConnectionNumber = u64;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Connections(Mutex<Table>);

#[derive(Default)]
struct Table {
    last: ConnectionNumber,
    open: HashMap<ConnectionNumber, Open>,
}

struct Open {
    address: IpAddr,
    /// Requests under way on it.
    requests: usize,
    /// The one whose connection it is ends it then.
    close: Arc<Notify>,
}

/// A connection that has a place.
pub(super) struct Connected {
    connections: Arc<Connections>,
    pub(super) number: ConnectionNumber,
    pub(super) close: Arc<Notify>,
}

/// A request under way on a connection.
pub(super) struct UnderWay(Arc<Connections>, ConnectionNumber);

impl Connections {
    /// A place for a connection from `address`; where `max` are open, another one's.
    pub(super) fn add(self: &Arc<Self>, address: IpAddr, max: usize) -> Connected {
        let mut table = self.0.lock();
        if table.open.len() >= max {
            table.close_one();
        }
        table.last += 1;
        let (number, close) = (table.last, Arc::new(Notify::new()));
        let open = Open { address: party(address), requests: 0, close: Arc::clone(&close) };
        table.open.insert(number, open);
        Connected { connections: Arc::clone(self), number, close }
    }

    /// A request of this connection is being answered, until what is given is dropped.
    pub(super) fn begin(self: &Arc<Self>, number: ConnectionNumber) -> UnderWay {
        if let Some(open) = self.0.lock().open.get_mut(&number) {
            open.requests += 1;
        }
        UnderWay(Arc::clone(self), number)
    }
}

impl Table {
    fn close_one(&mut self) {
        let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
        for open in self.open.values() {
            *by_address.entry(open.address).or_default() += 1;
        }
        let idle = self.open.iter().filter(|(_, open)| open.requests == 0);
        let first = idle.max_by_key(|(number, open)| (by_address[&open.address], u64::MAX - **number));
        let Some(number) = first.map(|(number, _)| *number) else { return };
        if let Some(open) = self.open.remove(&number) {
            open.close.notify_one();
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.connections.0.lock().open.remove(&self.number);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(open) = self.0.0.lock().open.get_mut(&self.1) {
            open.requests -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn the_oldest_that_waits_goes_of_the_address_that_has_most() {
        let connections = Arc::new(Connections::default());
        let quiet = connections.add(address(1), 4);
        let many: Vec<_> = (0..3).map(|_| connections.add(address(2), 4)).collect();
        let busy = connections.begin(many[0].number);
        let open = |connected: &Connected| connections.0.lock().open.contains_key(&connected.number);
        let newcomer = connections.add(address(3), 4);
        assert!(open(&quiet) && open(&newcomer) && open(&many[0]) && open(&many[2]));
        assert!(!open(&many[1]), "the oldest of the address that has most, but for the one that is answered");
        drop(busy);
        let another = connections.add(address(3), 4);
        assert!(!open(&many[0]) && open(&another) && open(&quiet));
        drop((quiet, many, newcomer, another));
        assert!(connections.0.lock().open.is_empty());
    }
}
