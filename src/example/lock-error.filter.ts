import { type ArgumentsHost, Catch, type ExceptionFilter, HttpStatus } from '@nestjs/common';
import {
  DistributedLockError,
  LockClosedError,
  LockConfigurationError,
  LockKeyError,
  LockQueueFullError,
  LockStoreUnavailableError,
  LockWaitTimeoutError,
} from 'nestjs-distributed-lock';
import type { Response } from 'express';

/** Seconds after which a client may try again. */
const RETRY_AFTER_SECONDS = 1;

/**
 * Tells HTTP clients what became of their call.
 *
 * - 423 Locked: somebody else was faster for the whole wait time
 * - 429 Too Many Requests: too many wait for this one already
 * - 503 Service Unavailable: locks cannot be had now; nothing ran
 * - 400 Bad Request: the call names nothing that can be locked
 * - 409 Conflict: the call ran and was undone, or nobody knows; `committed` says which
 */
@Catch(DistributedLockError)
export class LockErrorFilter implements ExceptionFilter<DistributedLockError> {
  catch(error: DistributedLockError, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse<Response>();
    if (error.retryable) response.setHeader('Retry-After', String(RETRY_AFTER_SECONDS));
    const { code, message, methodRan, committed, retryable } = error;
    response.status(statusOf(error)).json({ code, message, methodRan, committed, retryable });
  }
}

function statusOf(error: DistributedLockError): HttpStatus {
  if (error instanceof LockWaitTimeoutError) return HttpStatus.LOCKED;
  if (error instanceof LockQueueFullError) return HttpStatus.TOO_MANY_REQUESTS;
  if (error instanceof LockStoreUnavailableError || error instanceof LockClosedError) {
    return HttpStatus.SERVICE_UNAVAILABLE;
  }
  if (error instanceof LockKeyError) return HttpStatus.BAD_REQUEST;
  if (error instanceof LockConfigurationError) return HttpStatus.INTERNAL_SERVER_ERROR;
  return HttpStatus.CONFLICT;
}
