use std::io;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use reqwest::StatusCode;
use tokio::runtime::Handle;

use super::Sink;
use crate::audit::chain::Line;

/// How long a collector may take to take records.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends records as OpenTelemetry logs, in protobuf over HTTP. A record is written when the collector says that it
/// took it. The body of a log is the record just as it stands in a file.
pub struct OtlpSink {
    client: reqwest::Client,
    url: String,
    runtime: Handle,
    /// What was sent and not confirmed yet.
    pending: Vec<u8>,
}

/// Why there is no such sink.
#[derive(Debug, thiserror::Error)]
#[error("no client for the OpenTelemetry collector can be made")]
pub struct OtlpError;

impl OtlpSink {
    /// A sink that posts to a URL such as `http://collector:4318/v1/logs`, on a runtime.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(url: &str, runtime: Handle) -> Result<Self, OtlpError> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| OtlpError)?;
        Ok(Self { client, url: url.to_owned(), runtime, pending: Vec::new() })
    }
}

impl Sink for OtlpSink {
    fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        if self.pending.is_empty() {
            self.pending = request(lines).encode_to_vec();
        }
        let call = self
            .client
            .post(&self.url)
            .header("content-type", "application/x-protobuf")
            .body(self.pending.clone());
        let answer = self.runtime.block_on(async {
            let answer = call.send().await.map_err(|error| kind_of(&error))?;
            let status = answer.status();
            answer.bytes().await.map(|body| (status, body)).map_err(|error| kind_of(&error))
        });
        let (status, body) = answer?;
        if let Some(kind) = refusal(status) {
            return Err(kind.into());
        }
        let answer =
            ExportLogsServiceResponse::decode(body).map_err(|_| io::ErrorKind::InvalidData)?;
        if answer.partial_success.is_some_and(|partial| partial.rejected_log_records > 0) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.pending.clear();
        Ok(())
    }
}

fn kind_of(error: &reqwest::Error) -> io::ErrorKind {
    if error.is_timeout() {
        io::ErrorKind::TimedOut
    } else if error.is_connect() {
        io::ErrorKind::ConnectionRefused
    } else {
        io::ErrorKind::ConnectionAborted
    }
}

fn refusal(status: StatusCode) -> Option<io::ErrorKind> {
    match status {
        status if status.is_success() => None,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(io::ErrorKind::PermissionDenied),
        StatusCode::NOT_FOUND => Some(io::ErrorKind::NotFound),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Some(io::ErrorKind::ResourceBusy)
        }
        _ => Some(io::ErrorKind::InvalidData),
    }
}

fn request(lines: &[Line]) -> ExportLogsServiceRequest {
    let resource = Resource {
        attributes: vec![
            attribute("service.name", "portcullis"),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "portcullis.audit".to_owned(),
        ..InstrumentationScope::default()
    };
    let logs = ScopeLogs {
        scope: Some(scope),
        log_records: lines.iter().map(log).collect(),
        ..ScopeLogs::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![logs],
            ..ResourceLogs::default()
        }],
    }
}

fn log(line: &Line) -> LogRecord {
    let time = line.time.timestamp_nanos_opt().and_then(|t| u64::try_from(t).ok()).unwrap_or(0);
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number: SeverityNumber::Info.into(),
        severity_text: "INFO".to_owned(),
        event_name: "portcullis.audit".to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(line.text.clone())) }),
        attributes: vec![attribute("portcullis.audit.kind", line.kind.as_str())],
        ..LogRecord::default()
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    }
}
