//! The tree of settings with their defaults and the reasons for them.

use std::{net::SocketAddr, path::PathBuf};

use everwire_channel::{Retention, presence::Terms};
use serde::{Deserialize, Serialize};

use super::{
    ConfigError,
    acme::Acme,
    address::{Address, ClearText, Exposed},
    credential::{ApiKey, Jwks, TokenKey},
    document::{Documented, SettingDoc},
    host::Host,
    listen::Listen,
    metrics_access::MetricsAccess,
    network::Network,
    origin::PageOrigin,
    prefix::is_prefix,
    proxy::{ProxyFields, ProxyProtocol},
    revoked::Revoked,
    rule::{Action, Create, Rule},
    tls::{CertificateFiles, ClientAuth, TlsMode, TlsVersion},
    webhooks::Webhooks,
};

/// Declares a struct of settings: each field with its comment and its default, told once.
macro_rules! settings {
    ($(#[doc = $about:literal])* pub struct $name:ident { $($(#[doc = $doc:literal])+ pub $field:ident: $type:ty = $default:expr,)+ }) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[doc = $doc])+ pub $field: $type,)+ }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl Documented for $name {
            const DOCS: &'static [SettingDoc] = &[$(SettingDoc { name: stringify!($field), doc: &[$($doc,)+] },)+];
        }
    };
}

pub(super) use settings;

settings! {
/// Everything that can be set.
pub struct Config {
    /// Where to listen: an address and a port, such as `127.0.0.1:8080` or `[::1]:8080`, a port alone (`8080`) or
    /// `localhost:8080` for this machine only, or `:8080` for all its addresses; or several of these, as a list. A
    /// port of 0 is any free one. HTTP/1.1, HTTP/2 and WebSocket share it, in clear text unless `tls.mode` says
    /// otherwise. The default is on loopback, so that nothing is reachable from outside until somebody says so. Takes
    /// a restart.
    pub listen: Listen = Listen::from(SocketAddr::from(([127, 0, 0, 1], 8080))),
    /// How many core threads serve lines and requests; 0 means one for each core. Takes a restart.
    pub threads: usize = 0,
    /// For development: everybody who can reach the port may read, publish and delete everything, so it must be
    /// on loopback. The page at `/` and `/echo` are on, and what one address may do is not limited. Takes a restart.
    pub dev: bool = false,
    /// HTTP itself: origins, waiting times, heartbeats.
    pub http: Http = Http::default(),
    /// TLS: whether it is spoken, and which certificates are shown.
    pub tls: Tls = Tls::default(),
    /// What one caller, one line and the whole server may take.
    pub limits: Limits = Limits::default(),
    /// What holds for each channel that no rule names.
    pub channels: Channels = Channels::default(),
    /// Tokens: what callers show to say who they are and what they may do.
    pub tokens: Tokens = Tokens::default(),
    /// Webhooks: your application decides who a caller is, and what it may read and publish.
    pub webhooks: Webhooks = Webhooks::default(),
    /// Sessions: lines on `/connect` that read many channels.
    pub sessions: SessionLimits = SessionLimits::default(),
    /// Who is there: how members of channels are kept, and what is told of them.
    pub presence: Presence = Presence::default(),
    /// What happens on the server, told to servers: which sessions come and go, which channels have readers.
    pub events: Events = Events::default(),
    /// Certificates that the server gets and renews by itself, by ACME (RFC 8555).
    pub acme: Acme = Acme::default(),
    /// What is logged besides what an operator has to know.
    pub logs: Logs = Logs::default(),
    /// What the server counts.
    pub metrics: Metrics = Metrics::default(),
    /// How a change of the configuration is taken over.
    pub reload: Reload = Reload::default(),
    /// When the server says of itself that it is not well.
    pub health: Health = Health::default(),
    /// How the server stops.
    pub stop: Stop = Stop::default(),
    /// `/echo`, which sends back what it gets, for testing the path between a client and the server.
    pub echo: Echo = Echo::default(),
    /// What the server itself asks of others, by HTTP: key servers.
    pub outbound: Outbound = Outbound::default(),
    /// API keys, by which servers show who they are. `everwire key` makes one and prints these lines. To replace a
    /// secret, list the new one beside the old one, under the same `id`, until nobody uses the old one.
    pub keys: Vec<ApiKey> = Vec::new(),
    /// Rules for channels by pattern; the first that matches holds, and what it leaves out is as in `channels`.
    pub rules: Vec<Rule> = Vec::new(),
}
}

settings! {
/// HTTP itself.
pub struct Http {
    /// Origins whose pages may use this server from another site, such as `https://example.org`; `https://*.example.org`
    /// is every host below that one, and `*` is any. They are compared by scheme, host and port.
    /// Pages of the server's own origin always may; with `dev`, those on loopback may too.
    pub origins: Vec<String> = Vec::new(),
    /// The names by which this server is asked, such as `["live.example.org", "192.0.2.7"]`; `*.example.org` is every name
    /// below that one. A request by another is answered with 421, so that no page of another site gets in by having its
    /// own name lead here (DNS rebinding). Ports are not compared. `/healthz`, `/readyz` and challenges of `acme` are
    /// answered by any name, `/metrics` by any address. Empty, the default, is any name; with `dev` it is those that nobody
    /// else can give: addresses, `localhost`, what is below it, and names without a dot.
    pub hosts: Vec<Host> = Vec::new(),
    /// The path below which others see this server, such as `/live`, where it shares a host. A request's path may begin
    /// with it, or without it where a proxy takes it away; `Location` always has it, and the page of `dev` works below it.
    /// Health checks and certificate authorities ask without it.
    pub prefix: String = String::new(),
    /// Whether pages of origins that are listed may send cookies along, for a balancer that keeps a client with one server
    /// by a cookie. They count as no credential by this.
    pub cookies: bool = false,
    /// Proxies that are believed when they say whose connection or request they pass on: addresses and ranges, such
    /// as `["10.0.0.0/8", "::1"]`. What anybody else says is ignored. Who is behind them is who limits by address
    /// count; without this setting, a proxy's clients share its limits.
    pub trusted_proxies: Vec<Network> = Vec::new(),
    /// In which fields trusted proxies say whose request it is: `x-forwarded` (`X-Forwarded-For`, and for the check
    /// of origins `X-Forwarded-Proto` and `-Host`), or `forwarded` (RFC 7239). Name what your proxy sets: what it
    /// passes on unseen, clients can make up.
    pub proxy_fields: ProxyFields = ProxyFields::XForwarded,
    /// Whether each connection from a trusted proxy begins with a header of the PROXY protocol, version 1 or 2:
    /// `off` or `required`. Before TLS, where there is TLS. A connection without one is closed.
    pub proxy_protocol: ProxyProtocol = ProxyProtocol::Off,
    /// Whether pages of history, lists of who is present and answers to long polls are compressed for who takes them so
    /// (`Accept-Encoding: gzip, br`), and contents of requests may come compressed (`Content-Encoding`). Switch it off where
    /// somebody can publish beside secrets in a channel and see on the network how large its pages are: the sizes would
    /// tell what the secrets have in common with guesses. Or where a proxy in front does it better.
    pub compression: bool = true,
    /// Longest time that a connection may stay open without a request, in milliseconds; then it is closed. The
    /// default, 75 s, is a little longer than load balancers keep idle connections.
    pub idle_ms: u64 = 75_000,
    /// Longest time from the first byte of a request head to its last, in milliseconds; then it is answered with 408.
    /// Also for the header of the PROXY protocol. The default is 15 s: a head is a packet or two, on any network.
    pub head_ms: u64 = 15_000,
    /// Longest time that a request's content may take to arrive, in milliseconds; then it is answered with 408.
    pub content_ms: u64 = 30_000,
    /// Reconnection time that readers of an event stream are told, in milliseconds.
    pub retry_ms: u64 = 2_000,
    /// After how much silence a line is sent a heartbeat, in milliseconds; at least 1000. A WebSocket whose peer
    /// answers neither of two is closed with 4408. The default, 25 s, is below the 30 to 60 s after which common
    /// proxies close what is silent.
    pub heartbeat_ms: u64 = 25_000,
    /// How long an event stream of the Durable Streams dialect (`live=sse`) lives, in milliseconds, so that shared
    /// caches can collapse readers; they come back by themselves. The default, 60 s, is what that protocol suggests.
    pub durable_stream_ms: u64 = 60_000,
}
}

settings! {
/// TLS, by which nobody on the way can read or change what is sent. Without it, leave the port on loopback or put a
/// proxy in front that speaks it.
pub struct Tls {
    /// Whether connections are under TLS: `off` (none), `only` (all) or `both` (as the client likes, told by its first
    /// byte; for moving from one to the other).
    pub mode: TlsMode = TlsMode::Off,
    /// The lowest version that is spoken: `1.2` or `1.3`. Clients that cannot do 1.2 are from before 2014.
    pub min_version: TlsVersion = TlsVersion::V1_2,
    /// Longest time that a handshake may take, in milliseconds; then its connection is closed. The default, 10 s, is
    /// enough for a telephone far away.
    pub handshake_ms: u64 = 10_000,
    /// For how long browsers are told to use nothing but TLS with this host, in seconds
    /// (`Strict-Transport-Security`, RFC 6797); 0 means that they are told nothing. It is said under TLS only and
    /// holds for all ports of the host, so set it once everything there speaks TLS: 31536000 is a year.
    pub hsts_s: u64 = 0,
    /// Whether clients have to show a certificate: `off`, `optional` or `required`. One that is shown has to be signed
    /// by an authority of `tls.client_ca_file`. It lets its holder connect; what may be done is granted by credentials
    /// and rules as ever. With `required`, clear text is served nothing, whatever `tls.mode` says, but the challenges of
    /// `acme.challenge` `http-01`.
    pub client_auth: ClientAuth = ClientAuth::Off,
    /// A file of certificates as PEM: the authorities whose clients may connect.
    pub client_ca_file: PathBuf = PathBuf::new(),
    /// The certificates that are shown. A client names the host that it wants; the first certificate for that name is
    /// shown which the client can check, and to all others the first of the list.
    pub certificates: Vec<CertificateFiles> = Vec::new(),
}
}

settings! {
/// What one caller, one line and the whole server may take. Each limit is counted when it is met.
pub struct Limits {
    /// Largest content of one request, in bytes; a larger one is answered with 413.
    pub content_bytes_max: usize = 8 * 1024 * 1024,
    /// Largest message accepted on a WebSocket, in bytes, after decompression; a larger one fails the
    /// connection with close code 1009 (RFC 6455, section 7.4.1). The default is 1 MiB, since larger payloads are
    /// better published over HTTP.
    pub message_bytes_max: usize = 1024 * 1024,
    /// Largest request head, in bytes, at least 8192; a larger one is answered with 431.
    pub head_bytes_max: usize = 16 * 1024,
    /// Longest request target, in bytes; a longer one is answered with 414.
    pub target_bytes_max: usize = 4096,
    /// Most entries that one append or one batch may hold; more are answered with 413.
    pub entries_per_append_max: usize = 10_000,
    /// Most bytes of entries in one catch-up or long-poll response; the rest is the next page. A page holds at
    /// least one entry, however large.
    pub page_bytes_max: usize = 1024 * 1024,
    /// Most lines (WebSockets, streams, waiting long polls) open at once; further ones are answered with 503.
    pub lines_max: usize = 1_000_000,
    /// Most lines open at once from one address; further ones are answered with 429. 0 means no limit, as is
    /// needed behind a reverse proxy that `http.trusted_proxies` does not hold. Of IPv6, a /64 counts as one address.
    /// The default leaves room for an office.
    pub lines_per_address_max: usize = 1_000,
    /// Most lines opened a second by one address, on average, with bursts of two seconds' worth, long polls not
    /// counted; further ones are answered with 429. 0 means no limit. The default lets an office come back at once.
    pub lines_per_second_max: u32 = 500,
    /// Most requests a second that do not publish from one user, one API key or, for those who show no credential, one
    /// address, on average, with bursts of two seconds' worth: pages of history, long polls, openings of lines, who is
    /// there. Of a page each 64 KiB counts as one. Further ones are answered with 429. 0 means no limit, as is needed behind
    /// a busy reverse proxy that `http.trusted_proxies` does not hold, whose clients all count as one address. Whether
    /// the server is well can always be asked. The default is more than a browser or an office asks for, and a fraction
    /// of what a core answers.
    pub reads_per_second_max: u32 = 10_000,
    /// Most commands of sessions a second from one user, one API key or one address, on average, with bursts of two
    /// seconds' worth; publishing has its own rate. Of a page of history each 64 KiB counts as one. Further ones are
    /// answered with 429. 0 means no limit. The default lets
    /// an office come back at once with all that it reads.
    pub commands_per_second_max: u32 = 5_000,
    /// Most long polls that wait at once; further ones are answered with 503.
    pub polls_max: usize = 250_000,
    /// Most of what all callers share that one alone may hold, in percent: of lines, long polls, connections, channels
    /// and bytes of logs. Where several take what they can, each may hold so many times what is left: nine times with
    /// 90, the default. Who holds more is refused with 429 until it holds less or more is free, and others go on. A
    /// caller is an address; for channels and logs a user or an API key, where a credential names one. 100 means no
    /// limit.
    pub share_percent_max: u32 = 90,
    /// Most connections open at once that are not lines (yet), those of waiting long polls among them; further ones
    /// are closed at once, unanswered, but for a few that ask whether the server is well.
    pub connections_max: usize = 100_000,
    /// Most of these from one address; further ones are closed at once, unanswered. 0 means no limit. Trusted proxies
    /// may have any number.
    pub connections_per_address_max: usize = 1_000,
    /// Most connections opened a second by one address, on average, with bursts of two seconds' worth; further ones
    /// are closed at once, unanswered. 0 means no limit. Trusted proxies may open any number.
    pub connections_per_second_max: u32 = 500,
    /// Most channels, logs of who is in one among them; a request that would make one more is answered with 503.
    pub channels_max: usize = 1_000_000,
    /// Most bytes that the logs of all channels may take together, counted as for `channels.retain_bytes`, with the
    /// producers and keys that are remembered; an append that would exceed it is answered with 503. The default is 4 GiB,
    /// and half of the memory that the process may have where that is less.
    pub log_bytes_max: u64 = 4 * 1024 * 1024 * 1024,
    /// Most appends and creations a second from one address by callers who show no credential, on average, with
    /// bursts of two seconds' worth; further ones are refused with 429 or, on a raw WebSocket, 4429. Each item of a
    /// batch counts, and those beyond the rate are refused in their places. Each entry of one append counts; what a single
    /// append has too many is not refused, but what follows waits for it. As many channels a second are made for what one
    /// caller reads. 0 means no limit.
    pub appends_per_second_max: u32 = 1_000,
    /// The same for each user that tokens name (`sub`), wherever that is. The default, 200, is what several open
    /// pages need that publish as fast as a screen shows it.
    pub appends_per_second_user_max: u32 = 200,
    /// The same for each API key, since servers publish on behalf of many.
    pub appends_per_second_key_max: u32 = 10_000,
    /// Longest time that a long poll may wait, in milliseconds; `Prefer: wait` asks for less. The default, 25 s, is
    /// below what common proxies cut.
    pub long_poll_ms_max: u64 = 25_000,
    /// Most bytes that the lines of one core thread keep for themselves, those left out that keep 128 KiB or less:
    /// messages on WebSockets that have not come whole, after decompression, and replies that are not taken. A line
    /// that would keep more is closed with 1013, or with 4429 where its caller's lines keep their share already
    /// (`limits.share_percent_max`); it is cut if it takes nothing. The default is 32 MiB.
    pub kept_bytes_max: usize = 32 * 1024 * 1024,
    /// Most bytes that are held for all peers together and are in no log: contents that have not come whole, answers
    /// that are not taken. What needs more is answered with 503. Callers without a credential have three quarters of it
    /// together. The default is 256 MiB, and an eighth of the memory that the process may have where that is less.
    pub in_flight_bytes_max: usize = 256 * 1024 * 1024,
    /// Most of these bytes that are held for one caller: a user, an API key, or an address for those who show no
    /// credential. What needs more is answered with 429. 0 means no limit. The default, 32 MiB, is four of the largest
    /// contents.
    pub in_flight_bytes_per_caller_max: usize = 32 * 1024 * 1024,
    /// How long a reader may take nothing while something waits for it, in milliseconds; then its line, or its
    /// connection, is cut.
    pub write_stall_ms: u64 = 30_000,
}
}

settings! {
/// What holds for each channel that no rule names.
pub struct Channels {
    /// When a channel comes to be: `explicit` (only by `PUT`), `on-publish` (also by the first append) or
    /// `on-demand` (also by the first live read).
    pub create: Create = Create::OnDemand,
    /// What anybody may do without a credential: `read`, `publish` (also create and close), `manage` (delete),
    /// `presence` (see who is there). By default nothing. It is not said for names that begin with `$`, which are
    /// the server's own: reading those needs a rule that writes out their first segment.
    pub anonymous: Vec<Action> = Vec::new(),
    /// What your application decides, by the webhook: `read`, `publish`, `manage`, `presence`. It is asked unless the
    /// caller's credential grants it; `anonymous` and `dev` do not count for what stands here.
    pub decide: Vec<Action> = Vec::new(),
    /// Most entries that a channel keeps, at least 1; the oldest make room.
    pub retain_entries: u64 = 10_000,
    /// Most bytes that a channel keeps, counting 128 bytes an entry besides its payload; the oldest make room, and
    /// the newest entry is kept even if it is larger alone. The default is 64 MiB.
    pub retain_bytes: u64 = 64 * 1024 * 1024,
    /// How long a channel keeps an entry, in milliseconds; 0 means for ever. The default is a day.
    pub retain_ms: u64 = 24 * 60 * 60 * 1000,
    /// Largest entry that is appended, in bytes; a larger one is refused with 413 or, on a raw WebSocket, 1009. 0, the
    /// default, means whatever `limits.content_bytes_max` and `limits.message_bytes_max` let through.
    pub entry_bytes_max: usize = 0,
    /// Most entries appended a second to a channel by one caller, besides what `limits` says of its appends to all channels,
    /// with bursts of two seconds' worth; further ones are refused with 429 or, on a raw WebSocket, 4429. 0, the
    /// default, means no limit. A rule for a chat may say 5.
    pub appends_per_caller_max: u32 = 0,
    /// After how long without readers and writers an empty channel is forgotten that nobody made by `PUT`, in
    /// milliseconds.
    pub forget_ms: u64 = 60_000,
}
}

settings! {
/// Tokens: JSON Web Tokens (RFC 7519) that your application signs and this server checks. What one grants is added to
/// what `anonymous` grants to everybody.
pub struct Tokens {
    /// Who has to have issued a token (its claim `iss`); empty means anybody who has the key.
    pub issuer: String = String::new(),
    /// Whom a token has to be for (its claim `aud`, one or several). Empty means that it has to be for nobody in
    /// particular: a token with `aud` is then refused, as RFC 7519 asks for.
    pub audience: String = String::new(),
    /// By how much clocks may differ, in seconds: a token is taken so much before its `nbf` and after its `exp`.
    pub leeway_s: u64 = 30,
    /// Whether a token has to have an end, `exp`. Without one it can only be taken back with its key.
    pub exp_required: bool = true,
    /// Longest time from a token's `iat`, or from now if it has none, to its `exp`, in seconds; at most 10 years.
    /// The default is a day: what is stolen should not be of use for long, and the clients ask for fresh ones.
    pub life_s_max: u64 = 24 * 60 * 60,
    /// Longest token, in bytes; a longer one is refused unread.
    pub token_bytes_max: usize = 8 * 1024,
    /// Most grants that a token may hold; each is looked at where none before it fits.
    pub grants_max: usize = 100,
    /// Most tokens whose check is remembered, so that a page that opens many requests has its token checked once.
    /// None is remembered beyond its end.
    pub remembered_max: usize = 10_000,
    /// The name of a cookie that may hold a token; empty means none. It counts only on requests from this server's
    /// own pages and those of `http.origins` that are listed by name, since browsers send it along unasked.
    pub cookie: String = String::new(),
    /// After how long the keys of a key server are fetched again, in seconds, where its answer has no
    /// `Cache-Control: max-age`. They are fetched once a day at least.
    pub jwks_refresh_s: u64 = 300,
    /// Shortest time between two fetches from one key server, in milliseconds; at least 1. A token that is signed with an
    /// unknown key has the keys fetched at once, but not within this time, so that whoever makes names of keys up cannot
    /// have the key server flooded.
    pub jwks_interval_ms: u64 = 10_000,
    /// How long a fetch may take, in milliseconds. For so long a request waits at most whose token is signed with an
    /// unknown key.
    pub jwks_fetch_ms: u64 = 5_000,
    /// For how long keys are used on whose key server does not answer when they should be fetched again, in seconds;
    /// then tokens that are signed with them are answered with 503. The default is a day.
    pub jwks_stale_s_max: u64 = 24 * 60 * 60,
    /// Largest document of a key server, in bytes; a larger one counts as no answer.
    pub jwks_bytes_max: usize = 256 * 1024,
    /// Most keys in the document of a key server; one with more counts as no answer.
    pub jwks_keys_max: usize = 100,
    /// Most revocations that are kept which came by `POST /revocations`; when there are so many, each still needed, more
    /// are answered with 503. Each takes about 150 bytes.
    pub revocations_max: usize = 10_000,
    /// The keys that tokens are signed with. A token's header names one by `kid`.
    pub keys: Vec<TokenKey> = Vec::new(),
    /// Key servers: addresses at which the keys are published that tokens are signed with, as a JWK Set (RFC 7517).
    pub jwks: Vec<Jwks> = Vec::new(),
    /// Tokens that are not taken any more, though their time is not over; besides those that servers name at
    /// `/revocations`, which a restart forgets.
    pub revoked: Vec<Revoked> = Vec::new(),
}
}

settings! {
/// Sessions: lines on `/connect` that read many channels.
pub struct SessionLimits {
    /// Most channels that one session reads, with each presence log counted as one.
    pub channels_max: usize = 500,
    /// Most commands in one request.
    pub commands_max: usize = 100,
    /// Largest content of one request with commands, in bytes; a larger one is answered with 413. Whoever may publish
    /// nowhere has at most 64 KiB. The default is 1 MiB, as for a message on a WebSocket.
    pub content_bytes_max: usize = 1024 * 1024,
    /// How long a session by long polls lives without a poll, in milliseconds.
    pub poll_gap_ms: u64 = 30_000,
}
}

settings! {
/// Who is there.
pub struct Presence {
    /// How long a session's place in a channel lasts without being renewed, in milliseconds; at least twice
    /// `http.heartbeat_ms`. The server renews it at each heartbeat for as long as the session lives, so this is
    /// what is left of a part of the server that died. The default, 60 s, survives one heartbeat that comes late.
    pub lease_ms: u64 = 60_000,
    /// How long a member is still there after its last session has gone, in milliseconds, so that who reloads a
    /// page or changes networks has not left; 0 is not at all. The default is 3 s.
    pub linger_ms: u64 = 3_000,
    /// Most members that a channel has; one more is refused with 503. Each is told to all, so the work grows
    /// with the square of this.
    pub members_max: usize = 10_000,
    /// Most of them that are one user's, one API key's or one address's, counted by sessions, and by names that are
    /// still there after those; one more is refused with 429. So one caller cannot fill a channel. 0, the default, is a
    /// tenth of `members_max`.
    pub members_per_caller_max: usize = 0,
    /// Most members that a list of those present names, in the order of names; `total` tells how many there are. The
    /// default keeps a list below 100 kB or so, since each who comes is sent one.
    pub listed_max: usize = 1_000,
    /// Largest info of a member, in bytes of JSON; a larger one is refused with 413.
    pub info_bytes_max: usize = 1024,
    /// Most joins and leaves that a channel keeps, at least 1; the oldest make room. Who comes back after more
    /// gets the whole list again, so there is little reason to keep many.
    pub retain_entries: u64 = 1_000,
    /// How long a channel keeps joins and leaves, in milliseconds; 0 means for ever. The default is an hour.
    pub retain_ms: u64 = 60 * 60 * 1000,
}
}

settings! {
/// What happens on the server, told to servers in the channels `$everwire/sessions` and `$everwire/channels`.
pub struct Events {
    /// Whether it is told. Off by default: nobody may read these channels until a rule grants it, and until then
    /// every reader that comes would pay for what nobody gets. Takes a restart.
    pub enabled: bool = false,
}
}

settings! {
/// What is logged besides what an operator has to know.
pub struct Logs {
    /// Whether each request is logged when it is answered or becomes a line: its name, method, kind of address, channel,
    /// status, bytes, time and address. Off by default: it names channels and addresses of clients, and costs more than
    /// a small request does.
    pub requests: bool = false,
}
}

settings! {
/// What the server counts.
pub struct Metrics {
    /// Who may read `/metrics`: `local`, programs on the same machine, as long as no proxy says that it passes a request
    /// on; `open`, everybody; or `granted`. Besides, whoever may read the name `$everwire/metrics` always may, by a
    /// credential or a rule.
    pub access: MetricsAccess = MetricsAccess::Local,
}
}

settings! {
/// How a running server takes over a change of its configuration; SIGHUP always has it read all anew.
pub struct Reload {
    /// Whether a change of the configuration file, or of a file that it names, has the server read all anew. Takes a
    /// restart.
    pub on_change: bool = true,
}
}

settings! {
/// When the server says of itself that it is not well. A part of it is late that is stuck in one thing or ends by itself
/// again and again, and a core thread that does not come round; waiting for something is not being late.
pub struct Health {
    /// After how long `/readyz` says 503 for a part that is late, in milliseconds; at least 2000.
    pub late_ms: u64 = 10_000,
    /// After how long `/healthz` says 503 for it, and the watchdog of a service manager is not fed any more, in
    /// milliseconds; at least 2000. Then nothing but a restart helps, which loses all logs, so load alone must not come
    /// here: the default is a minute.
    pub stuck_ms: u64 = 60_000,
}
}

settings! {
/// How the server stops.
pub struct Stop {
    /// How long the server goes on as before after SIGTERM, new lines and requests included, in milliseconds, while
    /// `/readyz` says 503; then it drains. For balancers that need a moment to see that, as in Kubernetes. A second
    /// SIGTERM ends the wait.
    pub delay_ms: u64 = 0,
    /// How long open lines and requests may take to end, in milliseconds; what is left then is cut.
    pub drain_ms: u64 = 10_000,
    /// Lines are told to come back after a time chosen at random up to this, in milliseconds, so that not all
    /// come at once.
    pub reconnect_ms_max: u64 = 5_000,
}
}

settings! {
/// `/echo`, for testing the path between.
pub struct Echo {
    /// Whether `/echo` is there. With `dev` it always is. It asks for no credential.
    pub enabled: bool = false,
    /// Largest WebSocket message that `/echo` sends back, in bytes. The default is 16 MiB.
    pub message_bytes_max: usize = 16 * 1024 * 1024,
}
}

settings! {
/// What the server itself asks of others, by HTTP.
pub struct Outbound {
    /// A file of certificates as PEM, whose authorities are believed besides those of the system; empty means none.
    /// Takes a restart.
    pub ca_file: PathBuf = PathBuf::new(),
    /// Most connections to one host; who needs one more waits for it as long as the exchange may take, and is refused
    /// then. Takes a restart.
    pub connections_per_host_max: usize = 16,
    /// Whether others are asked by `http` beyond this machine: whoever is on the way may read and change all of it,
    /// keys and decisions too. `https`, and `http` on loopback, are always taken. A certificate authority is asked by
    /// `https` whatever stands here.
    pub insecure_clear_text: bool = false,
}
}

impl Config {
    /// Reads a configuration from TOML; what is not said is the default.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let parsed = toml::from_str(text).map_err(|error| ConfigError::of_parser(&error, text))?;
        Self::checked(parsed).map_err(|error| error.in_text(text))
    }

    /// Whether a text is TOML with settings that exist, each of its type; the error tells line and column. What they
    /// say together is judged when all of them are there, flags and environment too.
    pub fn check_syntax(text: &str) -> Result<(), ConfigError> {
        let parsed: Result<Self, _> = toml::from_str(text);
        parsed.map_or_else(
            |error| Err(ConfigError::of_parser(&error, text)),
            |_| Ok(()),
        )
    }

    /// Reads a configuration from a table, into which file, environment and flags were laid.
    pub fn from_table(table: toml::Table) -> Result<Self, ConfigError> {
        let parsed = table
            .try_into()
            .map_err(|error| ConfigError::of_parser(&error, ""))?;
        Self::checked(parsed)
    }

    /// The number of core threads, with 0 taken as one for each core.
    pub fn threads_effective(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            n => n,
        }
    }

    /// Whether a cookie may tell who a caller is.
    pub fn takes_cookies(&self) -> bool {
        !self.tokens.cookie.is_empty() || self.webhooks.passes_on(&http::header::COOKIE)
    }

    /// The configuration, if its values make sense together.
    pub(super) fn checked(self) -> Result<Self, ConfigError> {
        let value =
            |setting: &'static str, problem: String| Err(ConfigError::value(setting, problem));
        if self.dev && !self.listen.is_loopback() {
            return value(
                "dev",
                format!(
                    "opens everything to everybody, so it works on loopback only, and `listen` is {}; \
                     use 127.0.0.1 or [::1], or leave `dev` out and grant what is needed under `channels`",
                    self.listen
                ),
            );
        }
        if self.threads > 1024 {
            return value(
                "threads",
                format!("is {}; at most 1024 make sense", self.threads),
            );
        }
        for (setting, ms) in [
            ("health.late_ms", self.health.late_ms),
            ("health.stuck_ms", self.health.stuck_ms),
        ] {
            if ms < 2_000 {
                let problem = "must be at least 2000: a part shows once a second that it lives";
                return value(setting, problem.to_owned());
            }
        }
        self.check_numbers()?;
        if self.limits.head_bytes_max < 8192 {
            return value("limits.head_bytes_max", "must be at least 8192".to_owned());
        }
        if !(1..=100).contains(&self.limits.share_percent_max) {
            return value(
                "limits.share_percent_max",
                format!(
                    "is {}; it is a share in percent, from 1 to 100",
                    self.limits.share_percent_max
                ),
            );
        }
        if self.channels.retain_entries == 0 {
            return value(
                "channels.retain_entries",
                "must be at least 1: the newest entry is always kept".to_owned(),
            );
        }
        if !is_prefix(&self.http.prefix) {
            return value(
                "http.prefix",
                format!(
                    "is {:?}; it is a path such as \"/live\": it begins with / and does not end with it, holds letters, \
                     digits, -, _, . and ~, and is none of the server's own addresses",
                    self.http.prefix
                ),
            );
        }
        if self.http.heartbeat_ms < 1_000 {
            return value("http.heartbeat_ms", "must be at least 1000".to_owned());
        }
        let lease_ms_min = self.http.heartbeat_ms.saturating_mul(2);
        if self.presence.lease_ms < lease_ms_min {
            return value(
                "presence.lease_ms",
                format!(
                    "is {}; it must be at least {lease_ms_min}, twice http.heartbeat_ms, or members would be gone \
                     before they are renewed",
                    self.presence.lease_ms
                ),
            );
        }
        if self.presence.retain_entries == 0 {
            return value(
                "presence.retain_entries",
                "must be at least 1: the newest entry is always kept".to_owned(),
            );
        }
        if self.tokens.life_s_max > LIFE_S_MAX {
            return value(
                "tokens.life_s_max",
                format!(
                    "is {}; at most {LIFE_S_MAX} make sense, which is ten years",
                    self.tokens.life_s_max
                ),
            );
        }
        if self.tokens.leeway_s > LEEWAY_S_MAX {
            return value(
                "tokens.leeway_s",
                format!(
                    "is {}; at most {LEEWAY_S_MAX} make sense: set the clocks instead",
                    self.tokens.leeway_s
                ),
            );
        }
        let is_cookie_name = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
        if !self.tokens.cookie.bytes().all(is_cookie_name) {
            return value(
                "tokens.cookie",
                format!(
                    "is `{}`; a cookie's name is letters, digits, `-` and `_`",
                    self.tokens.cookie
                ),
            );
        }
        self.check_jwks()?;
        if !(1..=CONNECTIONS_PER_HOST_MAX).contains(&self.outbound.connections_per_host_max) {
            return value(
                "outbound.connections_per_host_max",
                format!("must be from 1 to {CONNECTIONS_PER_HOST_MAX}"),
            );
        }
        self.acme.check(&self.tls)?;
        self.tls.check()?;
        let is_shown = !self.tls.certificates.is_empty() || !self.acme.domains.is_empty();
        if self.tls.mode != TlsMode::Off && !is_shown && !self.dev {
            return value(
                "tls.certificates",
                "is empty, and tls.mode asks for TLS; list a certificate with its key as [[tls.certificates]], or have \
                 them issued by acme.domains (with `dev` one is made)"
                    .to_owned(),
            );
        }
        self.webhooks.check(&self)?;
        self.check_use()?;
        for origin in &self.http.origins {
            if let Some(problem) = PageOrigin::never_matches(origin) {
                return value("http.origins", format!("has `{origin}`; {problem}"));
            }
        }
        Ok(self)
    }

    /// Times and dates are added to each other: none may be so long that the sum is none.
    fn check_numbers(&self) -> Result<(), ConfigError> {
        let whole = serde_json::to_value(self).map_err(|error| {
            ConfigError::value("the configuration", format!("cannot be looked at: {error}"))
        })?;
        check_times("", &whole)
    }

    fn check_jwks(&self) -> Result<(), ConfigError> {
        let tokens = &self.tokens;
        if tokens.jwks_interval_ms == 0 {
            return Err(ConfigError::value(
                "tokens.jwks_interval_ms",
                "must be at least 1",
            ));
        }
        for (index, jwks) in tokens.jwks.iter().enumerate() {
            let url = &jwks.url;
            let wrong = |problem: String| {
                Err(ConfigError::value(
                    format!("tokens.jwks[{index}].url"),
                    format!("is {url}; {problem}"),
                ))
            };
            if let Err(exposed) = Address::of(url, self.outbound.clear_text()) {
                return wrong(self.outbound.told(exposed));
            }
            if tokens.jwks[..index].iter().any(|other| other.url == *url) {
                return wrong("it is listed before; list it once".to_owned());
            }
        }
        Ok(())
    }
}

/// Refuses times that are longer than a century, by the units at the ends of their names.
fn check_times(path: &str, value: &serde_json::Value) -> Result<(), ConfigError> {
    use serde_json::Value;
    match value {
        Value::Object(members) => members.iter().try_for_each(|(name, member)| {
            let separator = if path.is_empty() { "" } else { "." };
            check_times(&format!("{path}{separator}{name}"), member)
        }),
        Value::Array(items) => (items.iter().enumerate())
            .try_for_each(|(index, item)| check_times(&format!("{path}[{index}]"), item)),
        Value::Number(number) => {
            let name = path.trim_end_matches("_max");
            let max = match name {
                _ if name.ends_with("_ms") => CENTURY_S * 1000,
                _ if name.ends_with("_s") => CENTURY_S,
                _ => return Ok(()),
            };
            match number.as_u64().is_some_and(|number| number > max) {
                true => Err(ConfigError::value(
                    path.to_owned(),
                    format!("is {number}; at most {max} make sense, which is a century"),
                )),
                false => Ok(()),
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

/// Longest time that can be set, in seconds.
const CENTURY_S: u64 = 100 * 365 * 24 * 60 * 60;

/// Most connections to one host that can be set: there are no more ports.
const CONNECTIONS_PER_HOST_MAX: usize = 65_535;

/// Longest life that a token may be allowed: ten years.
const LIFE_S_MAX: u64 = 10 * 365 * 24 * 60 * 60;

/// Largest difference of clocks that is put up with: an hour.
const LEEWAY_S_MAX: u64 = 60 * 60;

impl Tls {
    fn check(&self) -> Result<(), ConfigError> {
        if self.handshake_ms == 0 {
            let problem = "is 0, in which no handshake is done; 10000 is ten seconds";
            return Err(ConfigError::value("tls.handshake_ms", problem));
        }
        if self.mode == TlsMode::Off && self.client_auth != ClientAuth::Off {
            let problem = "asks clients for certificates, and tls.mode is off, so that nobody is asked; set tls.mode to \
                           `only`";
            return Err(ConfigError::value("tls.client_auth", problem));
        }
        match (self.client_auth, self.client_ca_file.as_os_str().is_empty()) {
            (ClientAuth::Off, _) | (_, false) => Ok(()),
            (ClientAuth::Optional | ClientAuth::Required, true) => Err(ConfigError::value(
                "tls.client_ca_file",
                "is missing, and tls.client_auth asks clients for certificates; name the file of the authorities that \
                 sign them",
            )),
        }
    }
}

impl Outbound {
    /// Where webhooks and key servers may be asked in clear text.
    pub(crate) fn clear_text(&self) -> ClearText {
        match self.insecure_clear_text {
            true => ClearText::Anywhere,
            false => ClearText::OnLoopback,
        }
    }

    /// What is told of an address that may not be asked, with what to do.
    pub(super) fn told(&self, exposed: Exposed) -> String {
        format!(
            "{exposed}, or set outbound.insecure_clear_text if you know that nobody is on the way"
        )
    }
}

impl Presence {
    /// How members of a channel are kept.
    pub fn terms(&self) -> Terms {
        Terms {
            members_max: self.members_max,
            places_per_payer_max: match self.members_per_caller_max {
                0 => (self.members_max / 10).max(1),
                max => max,
            },
            lease_ms: self.lease_ms,
            linger_ms: self.linger_ms,
        }
    }

    /// The retention that logs of joins and leaves get.
    pub fn retention(&self) -> Retention {
        Retention {
            entries_max: self.retain_entries,
            // Bounded by the entries, each of which is a name and an info.
            bytes_max: u64::MAX,
            age_max_ms: (self.retain_ms > 0).then_some(self.retain_ms),
        }
    }
}

impl Channels {
    /// The retention that new channels get.
    pub fn retention(&self) -> Retention {
        Retention {
            entries_max: self.retain_entries,
            bytes_max: self.retain_bytes,
            age_max_ms: (self.retain_ms > 0).then_some(self.retain_ms),
        }
    }
}
