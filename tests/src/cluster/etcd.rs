//! The database, spoken to without the API server in between.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Cluster;
use crate::exchange;

impl Cluster {
    /// Calls etcd's JSON gateway, such as `/v3/maintenance/alarm`.
    pub async fn etcd_call(&self, path: &str, request: &Value) -> Result<Value> {
        let answer = exchange::post(self.etcd_port, path, request).await?;
        ensure!(answer.status.is_success(), "etcd answers {} to {path}: {}", answer.status, answer.text());
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Makes etcd forget every state but the present one, as the API server has it do with what is older than some minutes.
    pub async fn forget_history(&self) -> Result<()> {
        let present = self.etcd_call("/v3/kv/range", &json!({ "key": "AA==" })).await?;
        let compaction = json!({ "revision": present["header"]["revision"], "physical": true });
        self.etcd_call("/v3/kv/compaction", &compaction).await.map(drop)
    }
}
