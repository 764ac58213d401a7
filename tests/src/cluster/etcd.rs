//! The database, spoken to without the API server in between.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Cluster;
use crate::exchange;

impl Cluster {
    /// Calls etcd's JSON gateway, such as `/v3/maintenance/alarm`.
    pub async fn etcd_call(&self, path: &str, request: &Value) -> Result<Value> {
        let answer = exchange::post(self.etcd_port, path, request).await?;
        ensure!(answer.status.is_success(), "etcd answers {} to {path}: {}", answer.status, answer.text());
        Ok(serde_json::from_slice(&answer.body)?)
    }
}
