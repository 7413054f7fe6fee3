//! One channel that is read on a line.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::core::{ReadingId, Taken};
use super::shared::Handle;
use super::{SubscribeError, Update};
use crate::{Offset, Start};

/// One channel that is read; made by [`Channel::subscribe`](crate::Channel::subscribe).
///
/// It yields each entry once and in order, or one explicit [`Gap`](crate::Gap), over any sequence of
/// disconnections and changes of wire. Dropped, the channel is read no more. It is a [`Stream`] too, of what
/// [`next`](Self::next) gives.
#[derive(Debug)]
pub struct Subscription {
    handle: Arc<Handle>,
    id: ReadingId,
    position: Option<Offset>,
    /// The end was told.
    is_over: bool,
}

impl Subscription {
    pub(super) fn new(handle: Arc<Handle>, id: ReadingId) -> Self {
        Self {
            handle,
            id,
            position: None,
            is_over: false,
        }
    }

    /// The next update; `None` when the channel is closed and read to its end, or the line was closed by the
    /// program. If the future is dropped, nothing is lost.
    ///
    /// # Errors
    ///
    /// The channel cannot be read, or not any longer; after that it yields `None`.
    pub async fn next(&mut self) -> Result<Option<Update>, SubscribeError> {
        std::future::poll_fn(|context| self.poll_update(context))
            .await
            .transpose()
    }

    /// Where to go on after what was taken: with another line, or when the program runs again. As long as nothing
    /// was taken, where reading began; `None` before that.
    pub fn resume(&self) -> Option<Start> {
        let position = self.position.clone();
        position
            .or_else(|| self.handle.shared.began(self.id))
            .map(Start::After)
    }

    fn poll_update(
        &mut self,
        context: &Context<'_>,
    ) -> Poll<Option<Result<Update, SubscribeError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        Poll::Ready(
            match ready!(self.handle.shared.poll_take(self.id, context)) {
                Taken::Update(update) => {
                    match &update {
                        Update::Entry(entry) => self.position.clone_from(&entry.offset),
                        Update::Unreadable(unreadable) => {
                            if let Some(offset) = &unreadable.offset {
                                self.position = Some(offset.clone());
                            }
                        }
                        Update::Gap(gap) => self.position = Some(gap.oldest.clone()),
                        Update::Members(_) | Update::Join { .. } | Update::Leave { .. } => {}
                    }
                    Some(Ok(update))
                }
                Taken::Pending => return Poll::Pending,
                Taken::Ended(error) => {
                    self.is_over = true;
                    error.map(Err)
                }
            },
        )
    }
}

impl Stream for Subscription {
    type Item = Result<Update, SubscribeError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_update(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.handle.shared.leave(self.id);
    }
}
