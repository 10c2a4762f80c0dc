//! Notes, in warp's own terms. Nothing here knows which server it runs on.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use futures_util::{Stream, TryStreamExt, pin_mut, stream};
use serde::{Deserialize, Serialize};
use warp::http::{Response, StatusCode};
use warp::multipart::FormData;
use warp::{Filter, Rejection, Reply, reject, reply};

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

/// A body that ended early, or a form that is none.
#[derive(Debug)]
struct Broken;

impl reject::Reject for Broken {}

pub fn routes(notes: Notes) -> impl Filter<Extract = (impl Reply,), Error = Infallible> + Clone {
    let notes = warp::any().map(move || notes.clone());
    let front = warp::path::end().and(warp::get()).map(|| "Notes, by warp.\n");
    let add = warp::path!("notes").and(warp::post()).and(notes.clone()).and(warp::body::json()).map(add);
    let show = warp::path!("notes" / usize).and(warp::get()).and(notes).and_then(show);
    let upload = warp::path!("upload").and(warp::post()).and(warp::multipart::form()).and_then(upload);
    let digest = warp::path!("digest").and(warp::post()).and(warp::body::stream()).and_then(digest);
    let echo = warp::path!("echo").and(warp::post()).and(warp::body::bytes()).map(echo);
    let count = warp::path!("count" / u32).and(warp::get()).map(count);
    front.or(add).or(show).or(upload).or(digest).or(echo).or(count).recover(error_page)
}

fn add(Notes(texts): Notes, NewNote { text }: NewNote) -> impl Reply {
    let mut texts = texts.lock().expect("nobody panics with it");
    texts.push(text.clone());
    let number = texts.len();
    let note = reply::with_status(reply::json(&Note { number, text }), StatusCode::CREATED);
    reply::with_header(note, "Location", format!("/notes/{number}"))
}

async fn show(number: usize, Notes(texts): Notes) -> Result<impl Reply, Rejection> {
    let texts = texts.lock().expect("nobody panics with it");
    let text = number.checked_sub(1).and_then(|index| texts.get(index)).ok_or_else(reject::not_found)?;
    Ok(reply::json(&Note { number, text: text.clone() }))
}

async fn upload(form: FormData) -> Result<String, Rejection> {
    let part = async |lines: String, part: warp::multipart::Part| {
        let name = format!("{}: {}", part.name(), part.filename().unwrap_or("no file"));
        let size = part.stream().try_fold(0, async |size, piece| Ok(size + piece.remaining())).await?;
        Ok(lines + &format!("{name}, {size} bytes\n"))
    };
    form.try_fold(String::new(), part).await.map_err(|_| reject::custom(Broken))
}

/// Reads a body of any size, and keeps none of it.
async fn digest(body: impl Stream<Item = Result<impl Buf, warp::Error>>) -> Result<String, Rejection> {
    let (mut size, mut sum) = (0, 0);
    pin_mut!(body);
    while let Some(mut piece) = body.try_next().await.map_err(|_| reject::custom(Broken))? {
        size += piece.remaining();
        while piece.has_remaining() {
            sum = (sum * 31 % 65_521) + u64::from(piece.get_u8());
        }
    }
    Ok(format!("{size} bytes, {sum}\n"))
}

/// Whole: warp's stream of a body is not `Sync`, which its reply of a stream must be.
fn echo(body: Bytes) -> impl Reply {
    Response::new(body)
}

fn count(to: u32) -> impl Reply {
    reply::stream(stream::iter((1..=to).map(|number| Ok::<_, Infallible>(Bytes::from(format!("{number}\n"))))))
}

async fn error_page(rejection: Rejection) -> Result<impl Reply, Infallible> {
    let (status, sentence) = if rejection.is_not_found() {
        (StatusCode::NOT_FOUND, "There is nothing of that name here.")
    } else if rejection.find::<reject::MethodNotAllowed>().is_some() {
        (StatusCode::METHOD_NOT_ALLOWED, "That is not done here.")
    } else {
        (StatusCode::BAD_REQUEST, "That cannot be read.")
    };
    Ok(Response::builder().status(status).header("Content-Type", "text/html").body(format!("<h1>{sentence}</h1>\n")))
}
