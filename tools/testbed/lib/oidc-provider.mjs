// An OpenID provider to test against: the npm package oidc-provider, with users, clients and resources that tests know.
// Started by tools/testbed/oidc, whose --help describes it.
//
//     node oidc-provider.mjs MODULES STATE PORT
//
// MODULES has the package in node_modules; STATE has server.pem and server.key, and gets the control socket.

import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer as createControl } from 'node:http';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, state, port] = process.argv.slice(2);
const library = join(modules, 'node_modules/oidc-provider/lib/index.js');
const { Provider, errors } = await import(pathToFileURL(library));

const ISSUER = `https://127.0.0.1:${port}`;
const ALGORITHMS = ['RS256', 'ES256', 'EdDSA'];
const LIFETIME = 300; // of access tokens, in seconds

// Resources (RFC 8707), one for each algorithm, and the audience of their tokens.
const RESOURCES = new Map(['commissaire', 'other'].flatMap((audience) => ALGORITHMS.map((alg) => [
  `urn:${audience}:${alg}`, { audience, alg },
])));
const DEFAULT_RESOURCE = 'urn:commissaire:RS256';

const USERS = {
  ann: { email: 'ann@example.com', email_verified: true, groups: ['operators'] },
  bob: { email: 'bob@example.com', email_verified: false, groups: [] },
  root: { email: 'root@example.com', email_verified: true, groups: ['administrators'] },
};

// Clients of the client-credentials flow, with their roles and the lifetime of their tokens.
const SERVICES = {
  ci: { roles: ['fleet-operator'], lifetime: LIFETIME },
  monitoring: { roles: ['fleet-reader'], lifetime: LIFETIME },
  short: { roles: ['fleet-operator'], lifetime: 1 },
};

const CLIENTS = [
  ...Object.keys(SERVICES).map((client_id) => ({
    client_id,
    client_secret: 'secret',
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
  })),
  {
    client_id: 'commctl',
    application_type: 'native', // so that each port of a loopback address is allowed (RFC 8252)
    token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
    redirect_uris: ['127.0.0.1', '[::1]', 'localhost'].flatMap((host) => [`http://${host}/`, `http://${host}/callback`]),
    response_types: ['code'],
  },
];

// ---------------------------------------------------------------- what outlives a rotation

// A provider has the same keys for all its life, so a rotation makes another one, over the same records.
class Records {
  static all = new Map();

  constructor(name) {
    this.name = name;
  }

  key(id) {
    return `${this.name}:${id}`;
  }

  async find(id) {
    return Records.all.get(this.key(id));
  }

  async upsert(id, record) {
    Records.all.set(this.key(id), record);
  }

  findBy(field, value) {
    const records = [...Records.all].filter(([key]) => key.startsWith(`${this.name}:`));
    return records.map(([, record]) => record).find((record) => record[field] === value);
  }

  async findByUid(uid) {
    return this.findBy('uid', uid);
  }

  async findByUserCode(userCode) {
    return this.findBy('userCode', userCode);
  }

  async consume(id) {
    Records.all.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    Records.all.delete(this.key(id));
  }

  async revokeByGrantId(grantId) {
    for (const [key, record] of Records.all) if (record.grantId === grantId) Records.all.delete(key);
  }
}

const cookieKeys = [randomBytes(32).toString('hex')];

// ---------------------------------------------------------------- the provider

function configuration(keys) {
  return {
    adapter: Records,
    clients: CLIENTS,
    jwks: { keys: keys.flat() },
    cookies: { keys: cookieKeys },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
    scopes: ['openid', 'offline_access', 'email', 'groups', 'fleet.operate', 'fleet.read'],
    conformIdTokenClaims: false, // ID tokens have all claims, as those of Keycloak and Dex
    clientDefaults: { id_token_signed_response_alg: 'RS256' },
    features: {
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => DEFAULT_RESOURCE,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource, client) => {
          if (!RESOURCES.has(resource)) throw new errors.InvalidTarget();
          const { audience, alg } = RESOURCES.get(resource);
          return {
            audience,
            scope: 'fleet.operate fleet.read',
            accessTokenFormat: 'jwt',
            accessTokenTTL: SERVICES[client.clientId]?.lifetime ?? LIFETIME,
            jwt: { sign: { alg } },
          };
        },
      },
    },
    extraTokenClaims: (ctx, token) => (
      token.accountId ? { groups: USERS[token.accountId].groups } : { roles: SERVICES[token.clientId].roles }
    ),
    findAccount: (ctx, id) => USERS[id] && { accountId: id, claims: () => ({ sub: id, ...USERS[id] }) },
    issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    loadExistingGrant: consent,
    pkce: { required: () => true },
    ttl: {
      AccessToken: lifetime,
      AuthorizationCode: 60,
      ClientCredentials: lifetime,
      DeviceCode: 600,
      Grant: 86400,
      IdToken: LIFETIME,
      Interaction: 600,
      RefreshToken: 86400,
      Session: 86400,
    },
    renderError: (ctx, out) => { ctx.body = out; },
  };
}

function lifetime(ctx, token) {
  return token.resourceServer?.accessTokenTTL ?? LIFETIME;
}

// A user agrees to all that a client asks for.
async function consent(ctx) {
  const { client, session, params } = ctx.oidc;
  const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope(params.scope);
  for (const resource of [params.resource ?? DEFAULT_RESOURCE].flat()) grant.addResourceScope(resource, params.scope);
  await grant.save();
  return grant;
}

// A user logs in by the cookie `user`, or by the name that the client has suggested.
async function login(request, response) {
  const { params } = await provider.interactionDetails(request, response);
  const cookie = /(?:^|; )user=([a-z]+)/.exec(request.headers.cookie ?? '');
  const accountId = cookie?.[1] ?? params.login_hint ?? 'ann';
  const result = USERS[accountId] ? { login: { accountId }, consent: {} } : { error: 'access_denied' };
  await provider.interactionFinished(request, response, result);
}

// ---------------------------------------------------------------- keys

// One for each algorithm. A rotation replaces them together.
function newKeys() {
  const pairs = [
    generateKeyPairSync('rsa', { modulusLength: 2048 }),
    generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    generateKeyPairSync('ed25519'),
  ];
  return pairs.map(({ privateKey }, at) => {
    const jwk = privateKey.export({ format: 'jwk' });
    const kid = createHash('sha256').update(JSON.stringify(jwk)).digest('base64url').slice(0, 16);
    return { ...jwk, kid, alg: ALGORITHMS[at], use: 'sig' };
  });
}

let keys = [newKeys()]; // the first ones sign
let provider;
let callback;

function publish(changed) {
  keys = changed;
  provider = new Provider(ISSUER, configuration(keys));
  callback = provider.callback();
}

// Publishes new keys, which sign after some seconds; the old ones stay published for some more.
function rotate(after, retire) {
  const [old, next] = [keys[0], newKeys()];
  const without = (gone) => keys.filter((one) => one !== gone);
  const sign = () => {
    publish([next, ...without(next)]);
    later(() => publish(without(old)), retire);
  };
  publish([...keys, next]);
  later(sign, after);
}

function later(action, seconds) {
  if (seconds > 0) setTimeout(action, seconds * 1000); else action();
}

// ---------------------------------------------------------------- listening

publish(keys);

const tls = { key: readFileSync(join(state, 'tls/server.key')), cert: readFileSync(join(state, 'tls/server.pem')) };
const requests = {}; // by path, without identifiers

createServer(tls, (request, response) => {
  const path = request.url.split('?')[0];
  const route = path.startsWith('/.well-known/') ? path : `/${path.split('/')[1]}`;
  requests[route] = (requests[route] ?? 0) + 1;
  if (route !== '/interaction') return callback(request, response);
  return login(request, response).catch((error) => {
    console.error(error);
    response.writeHead(400).end(`${error.message}\n`);
  });
}).listen(port, '127.0.0.1');

// For tools/testbed/oidc alone.
createControl((request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://control');
  const answer = (body) => response.end(`${JSON.stringify(body)}\n`);
  if (pathname === '/requests') return answer(requests);
  if (pathname === '/rotate' && request.method === 'POST') {
    rotate(Number(searchParams.get('after')), Number(searchParams.get('retire')));
    return answer(keys.map((set) => set.map(({ kid }) => kid)));
  }
  return response.writeHead(404).end();
}).listen(join(state, 'control'));
