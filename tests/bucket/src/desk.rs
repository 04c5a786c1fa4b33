//! What callers may ask: the file server's own answers, and the list of uploads under way, which it lacks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use parking_lot::Mutex;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};
use s3s_fs::FileSystem;

#[derive(Clone)]
pub(crate) struct Desk(Arc<Inner>);

struct Inner {
    files: FileSystem,
    /// By id: the key.
    uploads: Mutex<BTreeMap<String, String>>,
    /// By key: how often it was written in one request.
    written: Mutex<BTreeMap<String, usize>>,
    /// The file server looks and then writes; of two who create, both would.
    one_by_one: tokio::sync::Mutex<()>,
}

impl Desk {
    pub(crate) fn open(root: &Path) -> Result<Desk> {
        let files = FileSystem::new(root).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(Desk(Arc::new(Inner {
            files,
            uploads: Mutex::default(),
            written: Mutex::default(),
            one_by_one: tokio::sync::Mutex::default(),
        })))
    }

    pub(crate) fn uploads(&self) -> Vec<String> {
        self.0.uploads.lock().values().cloned().collect()
    }

    pub(crate) fn written(&self) -> BTreeMap<String, usize> {
        self.0.written.lock().clone()
    }
}

#[async_trait::async_trait]
impl S3 for Desk {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let _alone = match req.input.if_none_match.is_some() {
            true => Some(self.0.one_by_one.lock().await),
            false => None,
        };
        let key = req.input.key.clone();
        let put = self.0.files.put_object(req).await?;
        *self.0.written.lock().entry(key).or_default() += 1;
        Ok(put)
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.0.files.get_object(req).await
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.0.files.head_object(req).await
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.0.files.delete_object(req).await
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.0.files.list_objects_v2(req).await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let key = req.input.key.clone();
        let begun = self.0.files.create_multipart_upload(req).await?;
        if let Some(id) = &begun.output.upload_id {
            self.0.uploads.lock().insert(id.to_string(), key);
        }
        Ok(begun)
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        self.0.files.upload_part(req).await
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let id = req.input.upload_id.to_string();
        let done = self.0.files.complete_multipart_upload(req).await?;
        self.0.uploads.lock().remove(&id);
        Ok(done)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let id = req.input.upload_id.to_string();
        let done = self.0.files.abort_multipart_upload(req).await?;
        self.0.uploads.lock().remove(&id);
        Ok(done)
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let prefix = req.input.prefix.unwrap_or_default();
        let uploads = self.0.uploads.lock();
        let found = uploads.iter().filter(|(_, key)| key.starts_with(&prefix));
        let told = found.map(|(id, key)| MultipartUpload {
            key: Some(key.clone()),
            upload_id: Some(id.clone()),
            ..Default::default()
        });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(req.input.bucket),
            prefix: Some(prefix.clone()),
            uploads: Some(told.collect()),
            ..Default::default()
        }))
    }
}
