/**
 * The load of `npm run verify <env> -- --load`: 100 sign-ins, 20 at once; then 500 orders, 50 at once. It signs one user up.
 * Paths and bodies are those of the example's services: a fork puts its own here. It needs Node alone, because it runs in a pod.
 * Prints one line of JSON; its exit code is 1 when the user cannot be signed up.
 */
const base = process.env.LOAD_URL;
const user = { email: `load-${Date.now()}@example.invalid`, password: crypto.randomUUID() };

async function post(path, body, token) {
  const began = performance.now();
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
  try {
    const response = await fetch(`${base}/api/v1${path}`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(30_000),
    });
    const text = await response.text();
    return { ok: response.ok, answer: String(response.status), text, ms: performance.now() - began };
  } catch (error) {
    return { ok: false, answer: error.cause?.code ?? error.name, text: "", ms: performance.now() - began };
  }
}

/** Sends a request again and again, some at once; tells how many failed, by their answer, and the 99th percentile in milliseconds. */
async function load(total, atOnce, send) {
  const results = [];
  let left = total;
  const worker = async () => {
    while (left > 0) {
      left -= 1;
      results.push(await send());
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  const times = results.map(({ ms }) => ms).sort((a, b) => a - b);
  const failed = {};
  for (const { ok, answer } of results) if (!ok) failed[answer] = (failed[answer] ?? 0) + 1;
  return { total, failed, p99Ms: Math.round(times[Math.ceil(total * 0.99) - 1]) };
}

const signedUp = await post("/users/sign-up", user);
if (!signedUp.ok) {
  console.log(JSON.stringify({ error: `sign-up is answered with ${signedUp.answer}` }));
  process.exit(1);
}
let token = "";
const signIns = await load(100, 20, async () => {
  const result = await post("/users/sign-in", user);
  if (result.ok) token = JSON.parse(result.text).token ?? "";
  return result;
});
const order = { items: [{ productId: "1", quantity: 1 }] };
const orders = await load(500, 50, () => post("/orders", order, token));
console.log(JSON.stringify({ signIns, orders }));
