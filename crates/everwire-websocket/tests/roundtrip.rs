//! Whatever one side sends, in any fragments, the other receives, in any pieces.

use bytes::BytesMut;
use everwire_websocket::frame::{ControlKind, FrameHead, FrameKind};
use everwire_websocket::{
    ContextTakeover, Deflate, Deflater, Event, Inbound, Level, Masker, MessageKind, Role, Rules,
    Scratch, WindowBits, encode_compressed_message, encode_message, encode_ping, mask,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// What a side sends, and what the other has to see.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
}

impl From<Event<'_>> for Item {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message(kind, payload) => Self::Message(kind, payload.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(_) | Event::Close(_) => panic!("nobody sent {event:?}"),
        }
    }
}

fn item() -> impl Strategy<Value = Item> {
    let text = prop_oneof!["[a-c]{0,400}", "\\PC{0,80}",];
    prop_oneof![
        3 => text.prop_map(|text| Item::Message(MessageKind::Text, text.into_bytes())),
        2 => vec(any::<u8>(), 0..400).prop_map(|bytes| Item::Message(MessageKind::Binary, bytes)),
        1 => vec(any::<u8>(), 0..=125).prop_map(Item::Ping),
    ]
}

fn takeover() -> impl Strategy<Value = ContextTakeover> {
    prop_oneof![Just(ContextTakeover::No), Just(ContextTakeover::Yes)]
}

fn deflate() -> impl Strategy<Value = Deflate> {
    (takeover(), takeover(), 9u8..=15, 9u8..=15).prop_map(
        |(server, client, server_bits, client_bits)| Deflate {
            server_context_takeover: server,
            client_context_takeover: client,
            server_max_window_bits: WindowBits::new(server_bits).unwrap(),
            client_max_window_bits: WindowBits::new(client_bits).unwrap(),
        },
    )
}

/// Receives `bytes` in pieces of the sizes given, over and over.
///
/// Between pieces an idle `Inbound` is replaced by a new one, as a shell may do.
fn receive(rules: &Rules, mut bytes: &mut [u8], sizes: &[usize]) -> Vec<Item> {
    let (mut inbound, mut scratch, mut items) = (Inbound::new(), Scratch::default(), Vec::new());
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at_mut((*size).min(bytes.len()));
        inbound
            .handle_bytes(rules, &mut scratch, piece, &mut |event| {
                items.push(event.into());
            })
            .expect("everything sent is valid");
        bytes = rest;
        if inbound.is_idle() {
            inbound = Inbound::new();
        }
    }
    assert!(rules.deflate.is_some() || inbound.is_idle());
    items
}

/// Appends a message in fragments cut at the places given, a Ping behind each but the last.
fn append_fragments(
    kind: MessageKind,
    compressed: bool,
    payload: &[u8],
    cuts: &[usize],
    key: Option<[u8; 4]>,
    out: &mut BytesMut,
) -> usize {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (payload.len() + 1)).collect();
    cuts.extend([0, payload.len()]);
    cuts.sort_unstable();
    let last = cuts.len() - 2;
    for (index, cut) in cuts.windows(2).enumerate() {
        let fin = index == last;
        let kind = match index {
            0 => FrameKind::First {
                kind,
                compressed,
                fin,
            },
            _ => FrameKind::Continuation { fin },
        };
        append_frame(kind, &payload[cut[0]..cut[1]], key, out);
        if !fin {
            append_frame(
                FrameKind::Control(ControlKind::Ping),
                &[index as u8],
                key,
                out,
            );
        }
    }
    last
}

fn append_frame(kind: FrameKind, payload: &[u8], key: Option<[u8; 4]>, out: &mut BytesMut) {
    FrameHead {
        kind,
        mask: key,
        payload_len: payload.len() as u64,
    }
    .encode(out);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask(key, 0, &mut out[start..]);
    }
}

fn rules(role: Role, deflate: Option<Deflate>) -> Rules {
    Rules {
        role,
        message_bytes_max: 4096,
        deflate,
    }
}

proptest! {
    #[test]
    fn a_client_receives_what_a_server_encodes(
        items in vec(item(), 0..8),
        deflate in proptest::option::of(deflate()),
        level in 1u8..=9,
        sizes in vec(1usize..600, 1..6),
    ) {
        let mut out = BytesMut::new();
        let mut deflater = deflate.map(|deflate| Deflater::new(
            deflate.server_max_window_bits,
            Level::new(level).unwrap(),
            deflate.server_context_takeover,
        ));
        for item in &items {
            match (item, &mut deflater) {
                (Item::Ping(payload), _) => encode_ping(payload, &mut out),
                (Item::Message(kind, payload), None) => encode_message(*kind, payload, &mut out),
                (Item::Message(kind, payload), Some(deflater)) => {
                    encode_compressed_message(*kind, payload, deflater, &mut out);
                }
            }
        }
        prop_assert_eq!(receive(&rules(Role::Client, deflate), &mut out, &sizes), items);
    }

    #[test]
    fn a_server_receives_what_a_client_encodes(
        items in vec((item(), any::<[u8; 4]>()), 0..8),
        deflate in proptest::option::of(deflate()),
        sizes in vec(1usize..600, 1..6),
    ) {
        let mut out = BytesMut::new();
        let mut deflater = deflate.map(|deflate| Deflater::new(
            deflate.outbound_window(Role::Client).unwrap(),
            Level::default(),
            deflate.client_context_takeover,
        ));
        for (item, key) in &items {
            let masker = Masker(*key);
            match (item, &mut deflater) {
                (Item::Ping(payload), _) => masker.encode_ping(payload, &mut out),
                (Item::Message(kind, payload), None) => {
                    masker.encode_message(*kind, payload, &mut out);
                }
                (Item::Message(kind, payload), Some(deflater)) => {
                    masker.encode_compressed_message(*kind, payload, deflater, &mut out);
                }
            }
        }
        let items: Vec<Item> = items.into_iter().map(|(item, _)| item).collect();
        prop_assert_eq!(receive(&rules(Role::Server, deflate), &mut out, &sizes), items);
    }

    #[test]
    fn fragments_with_pings_between_them_are_one_message(
        messages in vec((item(), vec(any::<usize>(), 0..4), any::<bool>()), 1..5),
        deflate in deflate(),
        key: [u8; 4],
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
        sizes in vec(1usize..300, 1..6),
    ) {
        let sender = match role {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        };
        let key = (sender == Role::Client).then_some(key);
        let mut deflater = Deflater::new(
            deflate.outbound_window(sender).unwrap(),
            Level::default(),
            deflate.outbound_takeover(sender),
        );
        let (mut out, mut expected) = (BytesMut::new(), Vec::new());
        for (item, cuts, compressed) in messages {
            let Item::Message(kind, payload) = item else {
                continue;
            };
            let mut coded = BytesMut::from(&payload[..]);
            if compressed {
                coded.clear();
                deflater.compress(&payload, &mut coded);
            }
            let pings = append_fragments(kind, compressed, &coded, &cuts, key, &mut out);
            expected.extend((0..pings).map(|index| Item::Ping(vec![index as u8])));
            expected.push(Item::Message(kind, payload));
        }
        prop_assert_eq!(receive(&rules(role, Some(deflate)), &mut out, &sizes), expected);
    }

    /// Whatever arrives, in whatever pieces: the same events, the same end, and no panic.
    #[test]
    fn pieces_never_change_what_noise_means(
        mut noise in vec(
            prop_oneof![
                Just(0x81u8), Just(0x01), Just(0x80), Just(0x00), Just(0xc1), Just(0x41), Just(0x88),
                Just(0x89), Just(0x02), Just(0x7e), Just(0xf2), Just(0x48), any::<u8>(),
            ],
            0..60,
        ),
        sizes in vec(1usize..9, 1..6),
    ) {
        let rules = Rules { message_bytes_max: 32, ..rules(Role::Client, Some(Deflate::default())) };
        let run = |bytes: &mut [u8], sizes: &[usize]| {
            let (mut inbound, mut scratch) = (Inbound::new(), Scratch::default());
            let (mut seen, mut rest) = (Vec::new(), bytes);
            for size in sizes.iter().cycle() {
                let (piece, more) = rest.split_at_mut((*size).min(rest.len()));
                let mut on_event = |event: Event<'_>| seen.push(format!("{event:?}"));
                if let Err(failure) = inbound.handle_bytes(&rules, &mut scratch, piece, &mut on_event) {
                    seen.push(failure.to_string());
                }
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            seen
        };
        let whole = run(&mut noise.clone(), &[usize::MAX]);
        prop_assert_eq!(run(&mut noise, &sizes), whole);
    }
}
