//! Who reads what on the floor: a map from paths to readers, and nothing else.

use std::collections::HashMap;

use super::framing::Framing;

/// All channels that were read.
#[derive(Default)]
pub struct Channels {
    by_path: HashMap<Vec<u8>, usize>,
    channels: Vec<Channel>,
}

/// The readers of one channel, by how their entries are written.
#[derive(Default)]
pub struct Channel {
    feeds: Vec<Feed>,
}

/// Readers that get the same bytes.
pub struct Feed {
    framing: Framing,
    /// Their connections.
    pub readers: Vec<usize>,
    /// What is to be sent to each.
    pub encoded: Vec<u8>,
    /// Entries in that.
    entries: usize,
}

/// Where a reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The channel it reads.
    pub channel: usize,
    feed: usize,
    at: usize,
}

impl Channels {
    /// Connection `reader` reads the channel of `path` from now on.
    pub fn join(&mut self, path: &[u8], framing: Framing, reader: usize) -> Place {
        let channel = self.find(path).unwrap_or_else(|| {
            self.by_path.insert(path.to_vec(), self.channels.len());
            self.channels.push(Channel::default());
            self.channels.len() - 1
        });
        let feeds = &mut self.channels[channel].feeds;
        let known = feeds.iter().position(|feed| feed.framing == framing);
        let feed = known.unwrap_or_else(|| {
            feeds.push(Feed {
                framing,
                readers: Vec::new(),
                encoded: Vec::new(),
                entries: 0,
            });
            feeds.len() - 1
        });
        let readers = &mut feeds[feed].readers;
        readers.push(reader);
        let at = readers.len() - 1;
        Place { channel, feed, at }
    }

    /// The reader at `place` is gone; returns who stands there now, if another had to move.
    pub fn leave(&mut self, place: Place) -> Option<usize> {
        let readers = &mut self.channels[place.channel].feeds[place.feed].readers;
        readers.swap_remove(place.at);
        readers.get(place.at).copied()
    }

    /// The channel of `path`, if anybody reads it.
    pub fn find(&self, path: &[u8]) -> Option<usize> {
        self.by_path.get(path).copied()
    }

    /// Encodes `payload` once for each kind of reader, and gives each feed that has `joined`
    /// entries by now to `send`.
    ///
    /// # Errors
    /// Whatever `send` fails with.
    pub fn publish<E>(
        &mut self,
        channel: usize,
        payload: &[u8],
        joined: usize,
        mut send: impl FnMut(&Feed) -> Result<(), E>,
    ) -> Result<(), E> {
        for feed in &mut self.channels[channel].feeds {
            feed.framing.write(payload, &mut feed.encoded);
            feed.entries += 1;
            if feed.entries >= joined {
                send(feed)?;
                feed.encoded.clear();
                feed.entries = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// What is sent after each of `payloads` was published: bytes and readers.
    fn publish(
        channels: &mut Channels,
        path: &[u8],
        payloads: &[u8],
        joined: usize,
    ) -> Vec<String> {
        let mut sent = Vec::new();
        let channel = channels.find(path).unwrap();
        for payload in payloads {
            channels
                .publish(channel, &[*payload], joined, |feed| {
                    let (bytes, readers) = (feed.encoded.len(), &feed.readers);
                    sent.push(format!("{bytes} bytes to {readers:?}"));
                    Ok::<(), Infallible>(())
                })
                .unwrap();
        }
        sent
    }

    #[test]
    fn entries_go_to_the_readers_of_their_path() {
        let mut channels = Channels::default();
        for (path, framing, reader) in [
            (b"/a", Framing::WebSocket, 0),
            (b"/b", Framing::WebSocket, 1),
            (b"/a", Framing::WebSocket, 2),
            (b"/a", Framing::EventStream, 3),
        ] {
            channels.join(path, framing, reader);
        }
        assert_eq!(
            publish(&mut channels, b"/a", b"x", 1),
            ["3 bytes to [0, 2]", "46 bytes to [3]"]
        );
        assert_eq!(
            publish(&mut channels, b"/b", b"xy", 1),
            ["3 bytes to [1]", "3 bytes to [1]"]
        );
        assert_eq!(channels.find(b"/c"), None);
    }

    #[test]
    fn joined_entries_wait_for_the_last_of_them() {
        let mut channels = Channels::default();
        channels.join(b"/a", Framing::WebSocket, 0);
        assert_eq!(
            publish(&mut channels, b"/a", b"abcdefghi", 4),
            ["12 bytes to [0]", "12 bytes to [0]"]
        );
    }

    #[test]
    fn a_reader_that_leaves_makes_place_for_the_last() {
        let mut channels = Channels::default();
        let places = [5, 6, 7].map(|reader| channels.join(b"/a", Framing::Ndjson, reader));
        assert_eq!(channels.leave(places[0]), Some(7));
        assert_eq!(channels.leave(places[1]), None);
    }
}
