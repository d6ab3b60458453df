import { FloodgateError, redactSecrets } from '../base/errors.ts';

/** The body that an OpenAI client reads when a request fails. */
export interface ApiErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

export interface ApiErrorDetails {
  /** Field of the request that is wrong. */
  readonly param?: string;
  readonly code?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request that cannot be answered, with its HTTP status. */
export class ApiError extends Error {
  readonly status: number;
  readonly details: ApiErrorDetails;

  constructor(status: number, message: string, details: ApiErrorDetails = {}) {
    super(redactSecrets(message));
    this.name = 'ApiError';
    this.status = status;
    this.details = details;
  }

  get body(): ApiErrorBody {
    const { param = null, code = null } = this.details;
    return { error: { message: this.message, type: typeOf(this.status), param, code } };
  }
}

function typeOf(status: number): string {
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}

/** Any failure as an `ApiError`. The words of an unexpected one stay on this side. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (!(error instanceof FloodgateError)) return new ApiError(500, 'the server failed; its terminal says why');
  if (error.code === 'interrupted') return new ApiError(503, 'the server is stopping');
  return new ApiError(error.code === 'model' || error.code === 'target' ? 400 : 500, error.message);
}
