//! Visits of pages, counted by Redis, in axum's and redis's own terms.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Client, RedisError};
use std::sync::Arc;
use tokio::sync::Mutex;

/// The way to Redis: one connection, which all requests share, and which is made anew where it was lost.
#[derive(Clone)]
pub struct Visits {
    client: Client,
    connection: Arc<Mutex<Option<MultiplexedConnection>>>,
}

impl Visits {
    /// # Errors
    /// What is no address of Redis: `redis://127.0.0.1/`, `redis+unix:///run/redis.sock`.
    pub fn new(address: &str) -> Result<Visits, RedisError> {
        Ok(Visits { client: Client::open(address)?, connection: Arc::default() })
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, Failure> {
        let connection = self.connection().await?;
        let answer = question(connection).await;
        if answer.as_ref().is_err_and(RedisError::is_unrecoverable_error) {
            *self.connection.lock().await = None;
        }
        Ok(answer?)
    }

    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.connection.lock().await;
        if connection.is_none() {
            *connection = Some(self.client.get_multiplexed_async_connection().await?);
        }
        Ok(connection.clone().expect("it was made"))
    }
}

/// Redis is away, or does not like what it was asked.
struct Failure(RedisError);

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Failure {
        Failure(error)
    }
}

impl axum::response::IntoResponse for Failure {
    fn into_response(self) -> axum::response::Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("Redis: {}\n", self.0)).into_response()
    }
}

pub fn router(visits: Visits) -> Router {
    Router::new().route("/{page}", get(count).post(visit)).with_state(visits)
}

async fn visit(State(visits): State<Visits>, Path(page): Path<String>) -> Result<String, Failure> {
    let count: u64 = visits.ask(async |mut redis| redis.incr(page, 1).await).await?;
    Ok(format!("{count}\n"))
}

async fn count(State(visits): State<Visits>, Path(page): Path<String>) -> Result<String, Failure> {
    let count: Option<u64> = visits.ask(async |mut redis| redis.get(page).await).await?;
    Ok(format!("{}\n", count.unwrap_or_default()))
}
