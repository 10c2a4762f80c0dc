//! Notes, for hyper without a framework. Nothing here knows which server it runs on.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame};
use hyper::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<String>>>);

#[derive(Serialize)]
struct Note {
    number: usize,
    text: String,
}

#[derive(Deserialize)]
struct NewNote {
    text: String,
}

/// The service: as hyper's own server calls it, and any other, whatever its bodies are.
pub async fn answer<B>(notes: Notes, request: Request<B>) -> Result<Answer, Infallible>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let path: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
    Ok(match (&parts.method, &path[..]) {
        (&Method::GET | &Method::HEAD, [""]) => text(StatusCode::OK, "Notes, by hyper.\n"),
        (&Method::POST, ["notes"]) => notes.add(body).await.unwrap_or_else(error_page),
        (&Method::GET, ["notes", number]) => notes.show(number).unwrap_or_else(error_page),
        (&Method::POST, ["digest"]) => digest(body).await.unwrap_or_else(error_page),
        (&Method::POST, ["echo"]) => Response::new(body.map_err(Into::into).boxed_unsync()),
        (&Method::GET, ["count", to]) => count(to.parse().unwrap_or_default()),
        (_, [""] | ["notes"] | ["digest"] | ["echo"]) => error_page(StatusCode::METHOD_NOT_ALLOWED),
        _ => error_page(StatusCode::NOT_FOUND),
    })
}

impl Notes {
    async fn add(&self, body: impl Body) -> Result<Answer, StatusCode> {
        let body = body.collect().await.map_err(|_| StatusCode::BAD_REQUEST)?.aggregate();
        let NewNote { text } = serde_json::from_reader(body.reader()).map_err(|_| StatusCode::BAD_REQUEST)?;
        let mut texts = self.0.lock().expect("nobody panics with it");
        texts.push(text.clone());
        let mut answer = json(StatusCode::CREATED, &Note { number: texts.len(), text });
        let location = format!("/notes/{}", texts.len()).try_into().expect("it is a field's value");
        answer.headers_mut().insert("Location", location);
        Ok(answer)
    }

    fn show(&self, number: &str) -> Result<Answer, StatusCode> {
        let number: usize = number.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
        let texts = self.0.lock().expect("nobody panics with it");
        let text = number.checked_sub(1).and_then(|index| texts.get(index)).ok_or(StatusCode::NOT_FOUND)?;
        Ok(json(StatusCode::OK, &Note { number, text: text.clone() }))
    }
}

/// Reads a body of any size, and keeps none of it.
async fn digest(body: impl Body<Data = Bytes>) -> Result<Answer, StatusCode> {
    let (mut size, mut sum) = (0, 0);
    let mut body = std::pin::pin!(body);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let piece = frame.into_data().unwrap_or_default();
        size += piece.len();
        sum = piece.iter().fold(sum, |sum, byte| sum * 31 % 65_521 + u64::from(*byte));
    }
    Ok(text(StatusCode::OK, format!("{size} bytes, {sum}\n")))
}

fn count(to: u32) -> Answer {
    let lines = stream::iter(1..=to).map(|number| Ok(Frame::data(Bytes::from(format!("{number}\n")))));
    Response::new(StreamBody::new(lines).boxed_unsync())
}

fn error_page(status: StatusCode) -> Answer {
    text(status, format!("{}.\n", status.canonical_reason().unwrap_or("Something is wrong")))
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    whole(status, "application/json", serde_json::to_vec(value).expect("it is plain data"))
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    whole(status, "text/plain", text)
}

fn whole(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).header("Content-Type", content_type).body(body).expect("it is well-formed")
}
