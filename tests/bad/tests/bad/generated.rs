//! Every field of every call, with every value that it must not hold.

use anyhow::{Context, Result, ensure};
use prost::Message;
use prost_reflect::{DynamicMessage, Kind as Wire, MethodDescriptor, Value};
use reeve_bad::call::{self, DEADLINE, DEADLINE_SHORT, Outcome};
use reeve_bad::fields;
use reeve_bad::hostile::{self, Expect};
use reeve_bad::judge::{self, Ends};
use reeve_bad::table::{self, Door, NOT_ASKED};
use reeve_bad::world::{Who, World};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use crate::{Tally, Watch};

/// Beyond what a request may have, and what one may have whose caller has no name yet.
const TOO_LONG: usize = 1_100_000;
const TOO_LONG_JOINER: usize = 70_000;
/// A number that no message has, for a text.
const UNKNOWN_FIELD: u32 = 5_000;
const HELLO: &str = "hello";
/// Of every request in the table.
const REQUEST_ID: &str = "bad-1";

pub async fn play(world: &World, watch: &mut Watch, tally: &mut Tally) -> Result<()> {
    let pool = fields::pool()?;
    let doors = table::doors(world);
    for method in fields::methods(&pool) {
        let name = fields::name(&method);
        let own: Vec<&Door> = doors.iter().filter(|door| door.rpc() == name).collect();
        let is_left_out = NOT_ASKED.iter().any(|(call, _)| *call == name);
        ensure!(
            own.is_empty() == is_left_out,
            "{name} is not in the table, or is said not to be asked and is"
        );
        let paths = fields::paths(&method.input());
        let told: Vec<&String> = own.iter().flat_map(|door| door.own(&paths)).collect();
        let missing = paths.iter().find(|path| !told.contains(path));
        ensure!(
            is_left_out || missing.is_none(),
            "{name}: {missing:?} is in no part of the table"
        );
        for door in own {
            door.hold(&door.own(&paths))?;
            let mut asking = Asking {
                channel: world.channel(door.who)?,
                method: &method,
                door,
                watch: &mut *watch,
                tally: &mut *tally,
            };
            asking.play(&door.own(&paths)).await?;
        }
    }
    Ok(())
}

struct Asking<'a> {
    channel: Channel,
    method: &'a MethodDescriptor,
    door: &'a Door,
    watch: &'a mut Watch,
    tally: &'a mut Tally,
}

impl Asking<'_> {
    async fn play(&mut self, paths: &[&String]) -> Result<()> {
        let base = DynamicMessage::deserialize(self.method.input(), &self.door.base);
        let mut base = base.with_context(|| format!("{}: the request", self.door.call))?;
        let unnamed = base.clone();
        self.renew(&mut base);
        if self.door.ends != Ends::Changes {
            let bytes = base.encode_to_vec();
            self.row("as it is", bytes.clone(), Expect::Legal, false).await?;
            let more = [bytes, text_field(UNKNOWN_FIELD, b"x")].concat();
            self.row("with a field that nobody knows", more, Expect::Legal, false)
                .await?;
        }
        self.whole(&base).await?;
        self.fields(&unnamed, paths).await?;
        let faults = self.watch.listed().await?;
        self.tally.note(self.door.call, faults, "");
        Ok(())
    }

    async fn fields(&mut self, unnamed: &DynamicMessage, paths: &[&String]) -> Result<()> {
        for path in paths {
            let kind = self.door.kind(path).context("a row")?;
            for mut row in hostile::rows(unnamed, path, kind)? {
                self.renew(&mut row.message);
                let bytes = row.message.encode_to_vec();
                self.row(&row.name, bytes, row.expect, row.is_slow).await?;
            }
        }
        Ok(())
    }

    /// Another request has another id.
    fn renew(&self, message: &mut DynamicMessage) {
        let of_base = |value: &Value| value.as_str() == Some(REQUEST_ID);
        if message
            .get_field_by_name("request_id")
            .is_some_and(|value| of_base(&value))
        {
            let id = format!("{REQUEST_ID}-{}", self.tally.rows);
            message.set_field_by_name("request_id", Value::String(id));
        }
    }

    /// What is no message at all, or too much of one.
    async fn whole(&mut self, base: &DynamicMessage) -> Result<()> {
        let request = || Expect::Field("request".to_owned());
        let bytes = base.encode_to_vec();
        self.row("bytes without a meaning", vec![0xff; 16], request(), false)
            .await?;
        let length = match self.door.who {
            Who::Nobody => TOO_LONG_JOINER,
            _ => TOO_LONG,
        };
        let long = [bytes.clone(), text_field(UNKNOWN_FIELD, &vec![b'x'; length])].concat();
        self.row("longer than a request may be", long, request(), false)
            .await?;
        let text = self
            .method
            .input()
            .fields()
            .find(|field| field.kind() == Wire::String);
        if let Some(field) = text {
            // An overlong way to write '/'.
            let odd = [bytes, text_field(field.number(), &[0xc0, 0xaf])].concat();
            self.row(&format!("{}: not UTF-8", field.name()), odd, request(), false)
                .await?;
        }
        Ok(())
    }

    async fn row(&mut self, what: &str, bytes: Vec<u8>, expect: Expect, is_slow: bool) -> Result<()> {
        let name = format!("{} {what}", self.door.call);
        let deadline = if is_slow { DEADLINE_SHORT } else { DEADLINE };
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", deadline.parse()?);
        let messages = self.messages(bytes, &expect)?;
        let is_bad = expect != Expect::Legal;
        let outcome = call::ask(&self.channel, self.method, messages, metadata, is_bad).await;
        let mut faults = match &outcome {
            Ok(outcome) => judge::faults(&expect, &self.door.ends, outcome),
            Err(stuck) => vec![format!("{stuck:#}")],
        };
        faults.extend(self.watch.changes().await?);
        self.tally.note(&name, faults, &shown(&outcome));
        Ok(())
    }

    /// In a session a greeting comes first; and health is never answered, so that a beat behind it is.
    fn messages(&self, bytes: Vec<u8>, expect: &Expect) -> Result<Vec<Vec<u8>>> {
        let said = |json: serde_json::Value| -> Result<Vec<u8>> {
            Ok(DynamicMessage::deserialize(self.method.input(), json)?.encode_to_vec())
        };
        let Some((_, part)) = self.door.call.split_once('#') else {
            return Ok(vec![bytes]);
        };
        let mut messages = Vec::new();
        if part != HELLO {
            messages.push(said(serde_json::json!({"hello": {}}))?);
        }
        messages.push(bytes);
        if *expect == Expect::Legal && ["health", HELLO].contains(&part) {
            messages.push(said(serde_json::json!({"beat": {}}))?);
        }
        Ok(messages)
    }
}

/// One field of a message, as it is written.
fn text_field(number: u32, text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(text.len() as u64, &mut bytes);
    bytes.extend(text);
    bytes
}

fn shown(outcome: &Result<Outcome>) -> String {
    match outcome {
        Ok(Outcome::Refused(status)) => {
            let info = reeve_proto::error::info(status);
            let message: String = status.message().chars().take(160).collect();
            format!(
                "{:?} {:?} {:?} {message:?}",
                status.code(),
                info.reason,
                info.metadata.get("field")
            )
        }
        other => format!("{other:?}"),
    }
}
