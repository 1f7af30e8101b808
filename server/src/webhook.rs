//! `POST /v1/workflows/{workflow}:trigger`: how programs that know a secret, and no gRPC, fire a workflow.
//!
//! Over HTTP/2 the request comes beside gRPC's, over HTTP/1.1 by [`crate::http1`]; here both are the same. Whoever does not
//! show the right secret hears the same answer, whether there is such a workflow or not. Only after that is anything read
//! of the request's body, or counted.

mod rate;
pub mod secret;

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use rekindle::id::WorkflowUid;
use rekindle::workflow::{FireKey, PAYLOAD_MAX_BYTES, Trigger, WorkflowId};
use rekindle_server_core::effect::{Answer, TriggerAnswer, TriggerOutcome};
use rekindle_server_core::input::{Request as MachineRequest, TriggerWorkflow, TriggeredBy};
use serde_json::json;
use tokio::sync::Semaphore;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::handle::Handle;
use crate::status;

use rate::Rate;

/// What the paths of all webhooks begin with.
pub const PATH: &str = "/v1/workflows/";

/// What the last part of each path ends with; a client may have encoded its first character.
const VERBS: [&str; 3] = [":trigger", "%3Atrigger", "%3atrigger"];

/// What makes a repeated call the same (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Time for a request's body.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Calls at a time whose bodies are read, or that wait for the driver: 64 MiB of bodies at most, and more than one commit
/// gathers.
const CALLS_MAX: usize = 1024;

/// When to try again where the server has too much to do.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// Answers the calls of webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    shared: Arc<Shared>,
}

struct Shared {
    handle: Handle,
    rate: Rate,
    calls: Semaphore,
}

/// Why a call fires nothing.
struct Refusal {
    status: StatusCode,
    reason: Cow<'static, str>,
    message: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason: Cow::Borrowed(reason),
            message: message.into(),
            retry_after: None,
        }
    }

    fn later(self, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..self
        }
    }
}

impl Webhooks {
    /// Fires workflows through this handle.
    pub fn new(handle: Handle) -> Self {
        let shared = Shared {
            handle,
            rate: Rate::default(),
            calls: Semaphore::new(CALLS_MAX),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        match self.fire(request).await {
            Ok(answer) => accepted(&answer),
            Err(refusal) => refused(&refusal),
        }
    }

    async fn fire<B>(&self, request: Request<B>) -> Result<TriggerAnswer, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let id = workflow_of(head.uri.path())?;
        if head.method != Method::POST {
            let message = "a webhook is called by POST";
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                message,
            ));
        }
        let (id, uid) = self
            .authenticate(id.as_ref(), &head.headers)
            .ok_or_else(unauthenticated)?;
        if let Err(wait) = self.shared.rate.take(&id, Instant::now()) {
            let message = format!("{} is called too often; try again later", id.name());
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "WEBHOOK_RATE", message).later(wait));
        }
        let key = key(&head.headers)?;
        let Ok(_permit) = self.shared.calls.try_acquire() else {
            let message = "the server has too many calls of webhooks under way; try again later";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "WEBHOOKS_BUSY", message).later(BUSY_RETRY));
        };
        let payload = payload(&head.headers, body).await?;
        let trigger = MachineRequest::TriggerWorkflow(TriggerWorkflow {
            id,
            uid: Some(uid),
            key,
            payload,
            by: TriggeredBy::Webhook,
        });
        let answer = self.shared.handle.call(trigger, None).await;
        let answer = answer.map_err(|error| of_status(&tonic::Status::from(error)))?;
        let Answer::Triggered(answer) = answer else {
            return Err(of_status(&status::defect("the answer is to another question")));
        };
        answer.map_err(|error| of_status(&status::workflow_refused(&error)))
    }

    /// The webhook whose secret is shown. Whether there is such a one, it takes the same way.
    fn authenticate(&self, id: Option<&WorkflowId>, headers: &HeaderMap) -> Option<(WorkflowId, WorkflowUid)> {
        let shown = headers.get(header::AUTHORIZATION).and_then(bearer).unwrap_or_default();
        let snapshot = self.shared.handle.snapshot();
        let workflow = id.and_then(|id| snapshot.workflows.get(id));
        let webhook = workflow.filter(|workflow| workflow.spec.trigger == Trigger::Webhook);
        let is_right = secret::is_right(shown, webhook.and_then(|webhook| webhook.secret));
        webhook
            .filter(|_| is_right)
            .map(|webhook| (webhook.id.clone(), webhook.uid))
    }
}

fn unauthenticated() -> Refusal {
    let message = "there is no such webhook, or this is not its secret; send it as Authorization: Bearer SECRET";
    Refusal::new(StatusCode::UNAUTHORIZED, "WEBHOOK_UNAUTHENTICATED", message)
}

/// Which workflow a path is of; `None` where no workflow can have that name.
fn workflow_of(path: &str) -> Result<Option<WorkflowId>, Refusal> {
    let rest = path.strip_prefix(PATH);
    let id = rest.and_then(|rest| VERBS.iter().find_map(|verb| rest.strip_suffix(verb)));
    match id {
        Some(id) => Ok(WorkflowId::new(id).ok()),
        None => {
            let message =
                format!("there is nothing here; webhooks are at {PATH}WORKFLOW:trigger, and all else is gRPC");
            Err(Refusal::new(StatusCode::NOT_FOUND, "NOT_FOUND", message))
        }
    }
}

/// `Bearer` and what follows (RFC 6750, section 2.1); the scheme in any case (RFC 9110, section 11.1).
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, secret) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn key(headers: &HeaderMap) -> Result<Option<FireKey>, Refusal> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    // The draft has a string in quotes, and most senders leave them out.
    let text = value.to_str().unwrap_or_default().trim();
    let bare = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text);
    FireKey::new(bare).map(Some).map_err(|error| {
        let message = format!("Idempotency-Key: {error}");
        Refusal::new(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message)
    })
}

async fn payload<B>(headers: &HeaderMap, body: B) -> Result<String, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let unsupported = |message: &str| Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_BODY", message);
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(unsupported("the body must not be compressed"));
    }
    let too_large = || {
        let message = format!("the body has more than {PAYLOAD_MAX_BYTES} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", message)
    };
    if body.size_hint().lower() > PAYLOAD_MAX_BYTES as u64 {
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_TIME, Limited::new(body, PAYLOAD_MAX_BYTES).collect());
    let bytes = match read.await {
        Err(_elapsed) => {
            let message = "the body did not come in time";
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT", message));
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => {
            let message = "the body is broken";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "BODY_BROKEN", message));
        }
        Ok(Ok(body)) => body.to_bytes(),
    };
    String::from_utf8(bytes.into()).map_err(|_| unsupported("the body must be UTF-8"))
}

/// The same refusal that a call over gRPC hears.
fn of_status(status: &tonic::Status) -> Refusal {
    let details = status.get_error_details();
    let code = match status.code() {
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        // The workflow went, or is no webhook any more, after the secret was checked.
        Code::NotFound | Code::Unauthenticated => return unauthenticated(),
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::PermissionDenied
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let reason = details.error_info().map(|info| info.reason.clone());
    let retry_after = details.retry_info().and_then(|info| info.retry_delay);
    Refusal {
        status: code,
        reason: reason.unwrap_or_default().into(),
        message: status.message().to_owned(),
        retry_after,
    }
}

fn accepted(answer: &TriggerAnswer) -> Response<Full<Bytes>> {
    let (execution, skipped) = match &answer.outcome {
        TriggerOutcome::Pending => (None, None),
        TriggerOutcome::Execution(execution) => (Some(execution.id.name(&execution.agent)), None),
        TriggerOutcome::Skipped(why) => (None, Some(why.as_str())),
    };
    let body = json!({
        "workflow": answer.workflow.id.name(),
        "fire": answer.fire.get(),
        "key": answer.key.as_str(),
        "execution": execution,
        "skipped": skipped,
    });
    response(StatusCode::ACCEPTED, &body)
}

fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let body = json!({
        "error": {
            "code": refusal.status.as_u16(),
            "reason": refusal.reason,
            "message": refusal.message,
        }
    });
    let mut response = response(refusal.status, &body);
    let headers = response.headers_mut();
    if let Some(wait) = refusal.retry_after {
        // Whole seconds, as RFC 9110, section 10.2.3, has it.
        headers.insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
    }
    match refusal.status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        _ => {}
    }
    response
}

fn response(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{body}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_workflows() {
        let of = |path| {
            workflow_of(path)
                .map(|id| id.map(String::from))
                .map_err(|refusal| refusal.status)
        };
        assert_eq!(of("/v1/workflows/w.1:trigger"), Ok(Some("w.1".to_owned())));
        assert_eq!(of("/v1/workflows/w%3Atrigger"), Ok(Some("w".to_owned())));
        assert_eq!(of("/v1/workflows/W:trigger"), Ok(None), "no workflow has such a name");
        assert_eq!(of("/v1/workflows/a/b:trigger"), Ok(None));
        for path in [
            "/",
            "/v1/workflows/w",
            "/v1/workflows/",
            "/v2/workflows/w:trigger",
            "/v1/workflows/w:trigger/",
        ] {
            assert_eq!(of(path), Err(StatusCode::NOT_FOUND), "{path}");
        }
    }

    #[test]
    fn secrets_and_keys_are_read_as_they_are_sent() {
        let of = |text| bearer(&HeaderValue::from_static(text)).map(str::to_owned);
        assert_eq!(of("Bearer s3"), Some("s3".to_owned()));
        assert_eq!(of("bearer  s3 "), Some("s3".to_owned()));
        assert_eq!(of("Basic s3"), None);
        assert_eq!(of("s3"), None);
        let of = |text| {
            let headers =
                HeaderMap::from_iter([(IDEMPOTENCY_KEY.parse().expect("a name"), HeaderValue::from_static(text))]);
            key(&headers)
                .map(|key| key.map(String::from))
                .map_err(|refusal| refusal.status)
        };
        assert_eq!(of("k-1"), Ok(Some("k-1".to_owned())));
        assert_eq!(of("\"k-1\""), Ok(Some("k-1".to_owned())));
        assert_eq!(of(""), Err(StatusCode::BAD_REQUEST));
        assert_eq!(key(&HeaderMap::new()).ok(), Some(None));
    }
}
