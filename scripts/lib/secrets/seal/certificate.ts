/** A certificate that nobody has signed but itself: it stands where a person has not brought the real one yet. */
import { webcrypto } from "node:crypto";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const YEAR_MS = 365 * 24 * 60 * 60 * 1000;

/**
 * Makes a key and a certificate, valid for a year.
 * @param host DNS name
 * @returns PEM texts as `tls.crt` and `tls.key`
 */
export async function selfSigned(host: string): Promise<Map<string, Uint8Array>> {
  // Loaded only when there is a certificate to make: it takes longer than all else that a command loads.
  await import("reflect-metadata"); // @peculiar/x509 needs it loaded first
  const x509 = await import("@peculiar/x509");
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const now = Date.now();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${host}`,
    notBefore: new Date(now),
    notAfter: new Date(now + YEAR_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: "dns", value: host }])],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  return new Map([
    ["tls.crt", Buffer.from(`${certificate.toString("pem")}\n`)],
    ["tls.key", Buffer.from(`${x509.PemConverter.encode(pkcs8, "PRIVATE KEY")}\n`)],
  ]);
}
