//! The connector of toy.c once more, in Rust, with nothing but its standard library: the contract's
//! structures are written out below, and every pointer is turned into a slice or a reference in one
//! place. Toyshop's lines are described in toy.c.
//!
//! At the boundary: a panic is caught (panic=unwind, the default of rustc) and becomes FAILED(INTERNAL),
//! nothing is kept that is only borrowed, and the one export is a constant object.
#![deny(unsafe_op_in_unsafe_fn, improper_ctypes_definitions)]
#![allow(non_upper_case_globals)]

use std::any::Any;
use std::ffi::c_void;
use std::fmt::Write;
use std::mem::size_of;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

// ---- sluice/abi.h and sluice/connector.h, as far as they are used -------------------------------------------------

mod abi {
    use std::ffi::c_void;

    pub const MAJOR: u16 = 1;
    /// Of the host: the manifest has a word of 1.1, `enumerates`.
    pub const REQUIRED_MINOR: u16 = 1;
    pub const STOP: i32 = 1;
    pub const E_ARG: i32 = -1;
    pub const E_STATE: i32 = -2;
    pub const E_UNSUPPORTED: i32 = -7;
    pub const E_INTERNAL: i32 = -8;

    pub const NULL: i32 = 0;
    pub const INT64: i32 = 2;
    pub const DECIMAL: i32 = 4;
    pub const STRING: i32 = 5;
    pub const TIMESTAMP: i32 = 7;
    pub const RECORD_DELETED: u32 = 1;
    pub const GET: i32 = 1;

    pub const FAIL_AUTH: i32 = 1;
    pub const FAIL_PERMISSION: i32 = 2;
    pub const FAIL_RATE_LIMITED: i32 = 3;
    pub const FAIL_UPSTREAM_TRANSIENT: i32 = 4;
    pub const FAIL_UPSTREAM_PERMANENT: i32 = 5;
    pub const FAIL_BAD_DATA: i32 = 6;
    pub const FAIL_CANCELLED: i32 = 9;
    pub const FAIL_INTERNAL: i32 = 10;

    pub const OP_CHECK: i32 = 1;
    pub const OP_READ: i32 = 3;
    pub const OP_FETCH: i32 = 4;

    pub const INPUT_START: i32 = 1;
    pub const INPUT_RESPONSE: i32 = 2;
    pub const INPUT_TRANSPORT_ERROR: i32 = 3;
    pub const INPUT_CONTINUE: i32 = 4;
    pub const INPUT_CANCEL: i32 = 6;

    pub const STEP_WAIT: i32 = 1;
    pub const STEP_MORE: i32 = 2;
    pub const STEP_DONE: i32 = 4;
    pub const STEP_FAILED: i32 = 5;

    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct Bytes {
        pub data: *const u8,
        pub size: u64,
    }

    impl Bytes {
        pub fn of(bytes: &[u8]) -> Bytes {
            Bytes { data: bytes.as_ptr(), size: bytes.len() as u64 }
        }

        /// # Safety
        /// The bytes are there for as long as the caller keeps the slice.
        pub unsafe fn slice<'a>(self) -> &'a [u8] {
            if self.size == 0 {
                return &[];
            }
            unsafe { std::slice::from_raw_parts(self.data, self.size as usize) }
        }
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct Value {
        pub attribute: u32,
        pub kind: i32,
        pub number: i64, // a union with f64; no real numbers here
        pub text: Bytes,
    }

    #[repr(C)]
    pub struct Record {
        pub struct_size: u32,
        pub entity_type: u32,
        pub external_id: Bytes,
        pub source_version: i64,
        pub flags: u32,
        pub value_count: u32,
        pub values: *const Value,
        pub source_url: Bytes,
        pub named_values: *const c_void,
        pub named_count: u32,
        pub reserved: u32,
    }

    #[repr(C)]
    pub struct Request {
        pub struct_size: u32,
        pub method: i32,
        pub id: u64,
        pub host: u32,
        pub flags: u32,
        pub target: Bytes,
        pub headers: *const c_void,
        pub header_count: u32,
        pub auth_slot: u32,
        pub body: Bytes,
        pub response_bytes_max: u64,
        pub not_before_ms: i64,
    }

    #[repr(C)]
    pub struct Failure {
        pub struct_size: u32,
        pub class: i32,
        pub retry_after_ms: i64,
        pub vendor_code: Bytes,
        pub message: Bytes,
    }

    #[repr(C)]
    pub struct Sink {
        pub struct_size: u32,
        pub reserved: u32,
        pub ctx: *mut c_void,
        pub record: unsafe extern "C" fn(*mut c_void, *const Record) -> i32,
        pub notice: *const c_void,
        pub complete_set: *const c_void,
        pub request: unsafe extern "C" fn(*mut c_void, *const Request) -> i32,
        pub checkpoint: unsafe extern "C" fn(*mut c_void, Bytes) -> i32,
        pub result: unsafe extern "C" fn(*mut c_void, Bytes) -> i32,
        pub fail: unsafe extern "C" fn(*mut c_void, *const Failure) -> i32,
        pub log: *const c_void,
        pub total: *const c_void,
    }

    #[repr(C)]
    pub struct Host {
        pub struct_size: u32,
        pub abi_major: u16,
        pub abi_minor: u16,
        pub ctx: *mut c_void,
        pub query_extension: *const c_void,
    }

    #[repr(C)]
    pub struct OpenArgs {
        pub struct_size: u32,
        pub operation: i32,
        pub config_json: Bytes,
        pub stream: Bytes,
        pub checkpoint_format: u32,
        pub entity_type: u32,
        pub checkpoint: Bytes,
        pub ids: *const Bytes,
        pub id_count: u32,
        pub records_per_step_max: u32,
        pub bytes_per_step_max: u64,
        pub payload: Bytes,
        pub headers: *const c_void,
        pub header_count: u32,
        pub page_size: u32,
    }

    #[repr(C)]
    pub struct Input {
        pub struct_size: u32,
        pub kind: i32,
        pub now_ms: i64,
        pub entropy: [u8; 16],
        pub request_id: u64,
        pub status: i32,
        pub header_count: u32,
        pub headers: *const c_void,
        pub body: Bytes,
    }

    #[repr(C)]
    pub struct Entry {
        pub struct_size: u32,
        pub abi_major: u16,
        pub built_minor: u16,
        pub required_minor: u16,
        pub flags: u16,
        pub reserved: u32,
        pub manifest: *const u8,
        pub manifest_size: u64,
        pub open: unsafe extern "C" fn(*const Host, *const OpenArgs, *mut *mut super::Session) -> i32,
        pub step: unsafe extern "C" fn(*mut super::Session, *const Input, *const Sink, *mut i64) -> i32,
        pub close: unsafe extern "C" fn(*mut super::Session),
        pub query_extension: unsafe extern "C" fn(Bytes) -> *const c_void,
    }
    // Points at constants only.
    unsafe impl Sync for Entry {}

    // sluice/layout.h: a compiler that lays anything out otherwise stops here.
    #[allow(dead_code)] // older compilers do not count what `const _` uses
    const fn same(size: usize, expected: usize) {
        assert!(size == expected, "a structure of the contract has another size");
    }
    const _: () = {
        use std::mem::size_of;
        same(size_of::<Bytes>(), 16);
        same(size_of::<Value>(), 32);
        same(size_of::<Record>(), 80);
        same(size_of::<Request>(), 88);
        same(size_of::<Failure>(), 48);
        same(size_of::<Sink>(), 88);
        same(size_of::<Host>(), 24);
        same(size_of::<OpenArgs>(), 120);
        same(size_of::<Input>(), 72);
        same(size_of::<Entry>(), 64);
    };
}

// ---- the note and the entry --------------------------------------------------------------------------------------

const MANIFEST: &[u8] = include_bytes!(env!("TOY_MANIFEST"));
const PADDED: usize = (MANIFEST.len() + 3) / 4 * 4;

/// An ELF note: owner "Sluice", type 1; its description ends with the manifest.
#[repr(C, align(4))]
struct Note {
    owner_size: u32,
    description_size: u32,
    kind: u32,
    owner: [u8; 8],
    format: u32,
    abi_major: u16,
    required_minor: u16,
    manifest_size: u32,
    manifest: [u8; PADDED],
}

const fn padded_manifest() -> [u8; PADDED] {
    let mut out = [0; PADDED];
    let mut i = 0;
    while i < MANIFEST.len() {
        out[i] = MANIFEST[i];
        i += 1;
    }
    out
}

#[used]
#[link_section = ".note.sluice"]
static NOTE: Note = Note {
    owner_size: 7,
    description_size: 12 + MANIFEST.len() as u32,
    kind: 1,
    owner: *b"Sluice\0\0",
    format: 1,
    abi_major: abi::MAJOR,
    required_minor: abi::REQUIRED_MINOR,
    manifest_size: MANIFEST.len() as u32,
    manifest: padded_manifest(),
};

#[no_mangle]
pub static sluice_connector_v1: abi::Entry = abi::Entry {
    struct_size: size_of::<abi::Entry>() as u32,
    abi_major: abi::MAJOR,
    built_minor: 1,
    required_minor: abi::REQUIRED_MINOR,
    flags: 0,
    reserved: 0,
    manifest: ptr::addr_of!(NOTE.manifest) as *const u8,
    manifest_size: MANIFEST.len() as u64,
    open,
    step,
    close,
    query_extension,
};

unsafe extern "C" fn open(host: *const abi::Host, args: *const abi::OpenArgs, session: *mut *mut Session) -> i32 {
    // Safety: the host gives us valid structures, and what args points at lives until close().
    let (host, args) = unsafe { (&*host, &*args) };
    if host.abi_major != abi::MAJOR {
        return abi::E_ARG;
    }
    match catch_unwind(|| unsafe { Session::new(args) }) {
        Ok(Ok(made)) => {
            unsafe { *session = Box::into_raw(Box::new(made)) };
            0
        }
        Ok(Err(status)) => status,
        Err(_) => abi::E_INTERNAL,
    }
}

/// What a panic said.
fn words_of(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return text;
    }
    panic.downcast_ref::<String>().map_or("no words", String::as_str)
}

/// At most `most` bytes, and no half character.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

unsafe extern "C" fn step(
    session: *mut Session, input: *const abi::Input, sink: *const abi::Sink, _wake_at_ms: *mut i64,
) -> i32 {
    // Safety: one call at a time on a session (the contract's [session]); input and sink are there
    // until we return.
    let (session, input, sink) = unsafe { (&mut *session, &*input, Out { sink: &*sink }) };
    let body = unsafe { input.body.slice() };
    // A panic ends this session and nothing else. The session is not used after it.
    match catch_unwind(AssertUnwindSafe(|| session.step(input, body, &sink))) {
        Ok(status) => status,
        Err(panic) => {
            session.expected = 0;
            let message = format!("panic: {}", words_of(panic.as_ref()));
            match sink.give_up::<i32>(abi::FAIL_INTERNAL, cut(&message, 1024)) {
                Ok(status) | Err(status) => status,
            }
        }
    }
}

unsafe extern "C" fn close(session: *mut Session) {
    let session = unsafe { Box::from_raw(session) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(session)));
}

unsafe extern "C" fn query_extension(_id: abi::Bytes) -> *const c_void {
    ptr::null()
}

// ---- the sink, safe ------------------------------------------------------------------------------------------------

/// Err is what step() returns at once: a refusal of the host, or how it ends.
type Step<T> = Result<T, i32>;

struct Out<'a> {
    sink: &'a abi::Sink,
}

fn taken(status: i32) -> Step<bool> {
    if status < 0 {
        Err(status)
    } else {
        Ok(status == abi::STOP)
    }
}

impl Out<'_> {
    /// True when the step is full.
    fn record(&self, entity_type: u32, id: &[u8], version: i64, values: Option<&[abi::Value]>) -> Step<bool> {
        let record = abi::Record {
            struct_size: size_of::<abi::Record>() as u32,
            entity_type,
            external_id: abi::Bytes::of(id),
            source_version: version,
            flags: if values.is_none() { abi::RECORD_DELETED } else { 0 },
            value_count: values.map_or(0, |v| v.len() as u32),
            values: values.map_or(ptr::null(), |v| v.as_ptr()),
            source_url: abi::Bytes::of(b""),
            named_values: ptr::null(),
            named_count: 0,
            reserved: 0,
        };
        taken(unsafe { (self.sink.record)(self.sink.ctx, &record) })
    }

    fn request(&self, id: u64, target: &str) -> Step<bool> {
        let request = abi::Request {
            struct_size: size_of::<abi::Request>() as u32,
            method: abi::GET,
            id,
            host: 0,
            flags: 0,
            target: abi::Bytes::of(target.as_bytes()),
            headers: ptr::null(),
            header_count: 0,
            auth_slot: 0,
            body: abi::Bytes::of(b""),
            response_bytes_max: 0,
            not_before_ms: 0,
        };
        taken(unsafe { (self.sink.request)(self.sink.ctx, &request) })
    }

    fn checkpoint(&self, bytes: &[u8]) -> Step<bool> {
        taken(unsafe { (self.sink.checkpoint)(self.sink.ctx, abi::Bytes::of(bytes)) })
    }

    fn result(&self, json: &str) -> Step<bool> {
        taken(unsafe { (self.sink.result)(self.sink.ctx, abi::Bytes::of(json.as_bytes())) })
    }

    fn give_up<T>(&self, class: i32, message: &str) -> Step<T> {
        let failure = abi::Failure {
            struct_size: size_of::<abi::Failure>() as u32,
            class,
            retry_after_ms: 0,
            vendor_code: abi::Bytes::of(b""),
            message: abi::Bytes::of(message.as_bytes()),
        };
        taken(unsafe { (self.sink.fail)(self.sink.ctx, &failure) })?;
        Err(abi::STEP_FAILED)
    }

    fn damaged<T>(&self, message: &str) -> Step<T> {
        self.give_up(abi::FAIL_BAD_DATA, message)
    }
}

// ---- the connector -------------------------------------------------------------------------------------------------

const CURSOR_MAX: usize = 255;

/// In the manifest's order, and so are its attributes.
struct EntityType {
    name: &'static str,
    kinds: &'static [i32],
}
const TYPES: [EntityType; 2] = [
    EntityType { name: "toys", kinds: &[abi::STRING, abi::DECIMAL, abi::INT64, abi::STRING, abi::TIMESTAMP] },
    EntityType { name: "makers", kinds: &[abi::STRING, abi::STRING] },
];

pub struct Session {
    operation: i32,
    entity_type: usize,
    page_size: u32,
    ids: Vec<Vec<u8>>,
    next_id: usize,
    request_id: u64,
    expected: i32, // the input's kind; 0: the session has ended
    cursor: Vec<u8>,
    page: Vec<u8>, // a copy: a page may take several steps
    at: usize,
}

impl Session {
    /// # Safety
    /// What args points at is there for the call.
    unsafe fn new(args: &abi::OpenArgs) -> Result<Session, i32> {
        let entity_type = match args.operation {
            abi::OP_CHECK => 0,
            abi::OP_READ => {
                let stream = unsafe { args.stream.slice() };
                TYPES.iter().position(|t| t.name.as_bytes() == stream).ok_or(abi::E_ARG)?
            }
            abi::OP_FETCH => args.entity_type as usize,
            _ => return Err(abi::E_UNSUPPORTED),
        };
        if entity_type >= TYPES.len() || args.checkpoint.size > CURSOR_MAX as u64 {
            return Err(abi::E_ARG);
        }
        let ids = (0..args.id_count as usize).map(|i| unsafe { (*args.ids.add(i)).slice().to_vec() });
        Ok(Session {
            operation: args.operation,
            entity_type,
            page_size: if args.page_size == 0 { 100 } else { args.page_size },
            ids: ids.collect(),
            next_id: 0,
            request_id: 0,
            expected: abi::INPUT_START,
            cursor: unsafe { args.checkpoint.slice() }.to_vec(),
            page: Vec::new(),
            at: 0,
        })
    }

    fn step(&mut self, input: &abi::Input, body: &[u8], sink: &Out) -> i32 {
        let failed = input.kind == abi::INPUT_TRANSPORT_ERROR;
        let kind = if failed { abi::INPUT_RESPONSE } else { input.kind };
        if self.expected == 0 || (kind != self.expected && kind != abi::INPUT_CANCEL) {
            return abi::E_STATE;
        }
        if kind == abi::INPUT_RESPONSE && input.request_id != self.request_id {
            return abi::E_ARG;
        }
        let ended = match kind {
            abi::INPUT_CANCEL => sink.give_up(abi::FAIL_CANCELLED, "cancelled"),
            abi::INPUT_START => self.ask(sink),
            abi::INPUT_CONTINUE => self.read_page(sink),
            _ if failed => sink.give_up(abi::FAIL_UPSTREAM_TRANSIENT, "Toyshop does not answer"),
            _ => self.answer(sink, input.status, body),
        };
        let status = match ended {
            Ok(status) | Err(status) => status,
        };
        self.expected = match status {
            abi::STEP_WAIT => abi::INPUT_RESPONSE,
            abi::STEP_MORE => abi::INPUT_CONTINUE,
            _ => 0,
        };
        status
    }

    fn ask(&mut self, sink: &Out) -> Step<i32> {
        let name = TYPES[self.entity_type].name;
        let target = match self.operation {
            abi::OP_READ => format!("/{}?limit={}&after={}", name, self.page_size, encoded(&self.cursor)),
            abi::OP_FETCH => format!("/{}/{}", name, encoded(&self.ids[self.next_id])),
            _ => "/me".to_string(),
        };
        self.request_id += 1;
        sink.request(self.request_id, &target)?;
        Ok(abi::STEP_WAIT)
    }

    fn answer(&mut self, sink: &Out, status: i32, body: &[u8]) -> Step<i32> {
        self.at = 0;
        if status == 404 && self.operation == abi::OP_FETCH {
            self.page = self.ids[self.next_id].clone();
            self.page.extend_from_slice(b"\t0\t-\n=end \n"); // as the vendor would say it
        } else if status != 200 {
            return refused(sink, status);
        } else {
            self.page = body.to_vec();
        }
        if self.page.contains(&0) {
            return sink.damaged("Toyshop sent a NUL");
        }
        if self.operation == abi::OP_CHECK {
            return account(sink, &self.page);
        }
        self.read_page(sink)
    }

    fn read_page(&mut self, sink: &Out) -> Step<i32> {
        let page = std::mem::take(&mut self.page);
        let step = self.read_lines(sink, &page);
        self.page = page;
        step
    }

    fn read_lines(&mut self, sink: &Out, page: &[u8]) -> Step<i32> {
        while let Some(size) = page[self.at..].iter().position(|&c| c == b'\n') {
            let line = &page[self.at..self.at + size];
            self.at += size + 1;
            if line.first() == Some(&b'=') {
                return self.turn(sink, line);
            }
            if self.put(sink, line)? {
                return Ok(abi::STEP_MORE);
            }
        }
        sink.damaged("Toyshop's page is cut off: its last line is missing")
    }

    /// One line; true when the step is full.
    fn put(&self, sink: &Out, line: &[u8]) -> Step<bool> {
        let kinds = TYPES[self.entity_type].kinds;
        let fields: Vec<&[u8]> = line.split(|&c| c == b'\t').collect();
        let version = fields.get(1).and_then(|field| number(field));
        match (fields.as_slice(), version) {
            ([id, _, b"-"], Some(version)) if !id.is_empty() => {
                sink.record(self.entity_type as u32, id, version, None)
            }
            ([id, _, b"+", texts @ ..], Some(version)) if !id.is_empty() && texts.len() == kinds.len() => {
                let values: Vec<abi::Value> =
                    texts.iter().zip(kinds).enumerate().map(|(i, (text, &kind))| value(i as u32, kind, text)).collect();
                sink.record(self.entity_type as u32, id, version, Some(&values))
            }
            _ => sink.damaged("Toyshop sent a line that is no entity"),
        }
    }

    /// The last line of a page: where to go on.
    fn turn(&mut self, sink: &Out, line: &[u8]) -> Step<i32> {
        let (more, cursor) = match (line.strip_prefix(b"=more "), line.strip_prefix(b"=end ")) {
            (Some(cursor), _) => (true, cursor),
            (_, Some(cursor)) => (false, cursor),
            _ => return sink.damaged("Toyshop ended a page with neither =more nor =end"),
        };
        if self.operation == abi::OP_FETCH {
            self.next_id += 1;
            return if self.next_id < self.ids.len() { self.ask(sink) } else { Ok(abi::STEP_DONE) };
        }
        if cursor.len() > CURSOR_MAX {
            return sink.damaged("Toyshop sent a cursor above 255 bytes");
        }
        if more && cursor == self.cursor {
            return sink.damaged("Toyshop's cursor stands still: =more, and the same as before");
        }
        self.cursor = cursor.to_vec();
        if !cursor.is_empty() {
            sink.checkpoint(cursor)?;
        }
        if more {
            self.ask(sink)
        } else {
            Ok(abi::STEP_DONE)
        }
    }
}

fn value(attribute: u32, kind: i32, text: &[u8]) -> abi::Value {
    let mut value = abi::Value { attribute, kind, number: 0, text: abi::Bytes::of(text) };
    if text.is_empty() {
        value.kind = abi::NULL;
    } else if kind == abi::INT64 || kind == abi::TIMESTAMP {
        match number(text) {
            Some(number) => value.number = number,
            None => value.kind = abi::STRING, // the host puts this record aside and says why
        }
    }
    value
}

/// At most 18 characters: never out of range.
fn number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if text.len() > 18 || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude = digits.iter().fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Some(if digits.len() < text.len() { -magnitude } else { magnitude })
}

fn encoded(text: &[u8]) -> String {
    let mut out = String::new();
    for &c in text {
        if c.is_ascii_alphanumeric() || c == b'_' || c == b'-' {
            out.push(char::from(c));
        } else {
            let _ = write!(out, "%{:02X}", c); // to a String: cannot fail
        }
    }
    out
}

fn account(sink: &Out, body: &[u8]) -> Step<i32> {
    let expected = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'_';
    match body.strip_suffix(b"\n").map(std::str::from_utf8) {
        Some(Ok(id)) if (1..=64).contains(&id.len()) && id.bytes().all(|c| expected(&c)) => {
            let json = format!("{{\"account\":{{\"id\":\"{}\",\"name\":\"Toyshop\"}},\"mode\":\"test\"}}", id);
            sink.result(&json)?;
            Ok(abi::STEP_DONE)
        }
        _ => sink.damaged("Toyshop's answer to /me is no account"),
    }
}

fn refused<T>(sink: &Out, status: i32) -> Step<T> {
    match status {
        401 => sink.give_up(abi::FAIL_AUTH, "Toyshop does not take this API key (401)"),
        403 => sink.give_up(abi::FAIL_PERMISSION, "Toyshop's API key may not read this (403)"),
        429 => sink.give_up(abi::FAIL_RATE_LIMITED, "Toyshop wants fewer requests (429)"),
        500.. => sink.give_up(abi::FAIL_UPSTREAM_TRANSIENT, "Toyshop is ill (5xx)"),
        _ => sink.give_up(abi::FAIL_UPSTREAM_PERMANENT, "Toyshop refuses this request"),
    }
}
