import http, { type ClientRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import https from 'node:https';
import { isIP, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { connect as connectTls, type SecureContextOptions } from 'node:tls';
import { basicAuthorization } from './credentials.ts';

/**
 * How to reach a host. Node's own `fetch` takes neither a certificate authority of one request nor, before Node 24, a
 * proxy; `node:https` takes both.
 */
export interface Route {
  /** PEM of the certificate authorities to trust in place of Node's own. */
  readonly ca?: string | undefined;
  /** PEM of a client certificate and its key. */
  readonly clientCertificate?: string | undefined;
  /** The host is trusted without a valid certificate. */
  readonly isUnverified?: boolean;
  readonly proxy?: URL | undefined;
}

export interface TransportResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Readable;
}

export interface TransportRequest {
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** One GET request over a connection of its own. Follows no redirect and decodes no content encoding. */
export async function httpGet(
  url: URL,
  { headers, signal }: TransportRequest,
  route: Route,
): Promise<TransportResponse> {
  const options: RequestOptions = { headers, signal, method: 'GET' };
  const isSecure = url.protocol === 'https:';
  if (route.proxy === undefined) {
    return send(
      isSecure
        ? https.request(url, { ...options, ...tlsOptions(route), agent: false })
        : http.request(url, { ...options, agent: false }),
    );
  }
  if (!isSecure) {
    const { proxy } = route;
    const viaProxy = { ...proxyAddress(proxy), ...options, path: url.href, agent: false };
    const sent = { ...headers, host: url.host, ...proxyAuthorization(proxy) };
    return send(requestOver(proxy, { ...viaProxy, headers: sent }));
  }
  const tunnel = await openTunnel(url, route.proxy, route, signal);
  const host = bareHost(url);
  const socket = connectTls({
    socket: tunnel,
    host,
    ...tlsOptions(route),
    ...(isIP(host) === 0 ? { servername: host } : {}),
  });
  return send(https.request(url, { ...options, createConnection: () => socket }));
}

function send(request: ClientRequest): Promise<TransportResponse> {
  return new Promise((resolve, reject) => {
    request.once('error', reject);
    request.once('response', (response: IncomingMessage) => {
      // An error after the headers belongs to whoever reads the body.
      request.on('error', () => undefined);
      try {
        resolve({ status: response.statusCode ?? 0, headers: toHeaders(response), body: response });
      } catch (cause) {
        response.destroy();
        reject(cause); // a header that no server may send
      }
    });
    request.end();
  });
}

function toHeaders({ headersDistinct }: IncomingMessage): Headers {
  const headers = new Headers();
  for (const [name, values] of Object.entries(headersDistinct)) {
    for (const value of values ?? []) headers.append(name, value);
  }
  return headers;
}

function tlsOptions({ ca, clientCertificate, isUnverified }: Route): SecureContextOptions & TlsChecks {
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(clientCertificate === undefined ? {} : { cert: clientCertificate, key: clientCertificate }),
    ...(isUnverified === true ? { rejectUnauthorized: false } : {}),
  };
}

interface TlsChecks {
  readonly rejectUnauthorized?: boolean;
}

/** Asks the proxy for a connection to the host of `url`, over which TLS then runs end to end. */
function openTunnel(url: URL, proxy: URL, route: Route, signal: AbortSignal): Promise<Socket> {
  const authority = `${url.hostname}:${url.port || '443'}`;
  const headers = { host: authority, ...proxyAuthorization(proxy) };
  const toProxy = proxy.protocol === 'https:' ? tlsOptions({ ca: route.ca }) : {};
  const options = {
    ...proxyAddress(proxy),
    ...toProxy,
    method: 'CONNECT',
    path: authority,
    headers,
    signal,
    agent: false,
  };
  return new Promise((resolve, reject) => {
    const request = requestOver(proxy, options);
    request.once('error', reject);
    request.once('connect', (response: IncomingMessage, socket: Socket) => {
      if (response.statusCode === 200) {
        resolve(socket);
        return;
      }
      socket.destroy();
      reject(new Error(`the proxy ${proxy.host} answered ${response.statusCode} to CONNECT`));
    });
    request.end();
  });
}

function requestOver({ protocol }: URL, options: RequestOptions): ClientRequest {
  return protocol === 'https:' ? https.request(options) : http.request(options);
}

function proxyAddress(proxy: URL): RequestOptions {
  return {
    protocol: proxy.protocol,
    host: bareHost(proxy),
    port: proxy.port || (proxy.protocol === 'https:' ? 443 : 80),
  };
}

function proxyAuthorization(proxy: URL): Record<string, string> {
  if (proxy.username === '') return {};
  return {
    'proxy-authorization': basicAuthorization(decodeURIComponent(proxy.username), decodeURIComponent(proxy.password)),
  };
}

/** The host without the brackets of an IPv6 address. */
function bareHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '');
}
