/** Types of Secrets that sops-secrets-operator does not get along with. docs/secrets.md#secrets-have-no-type */

/** The word of the operator that it leaves on a SopsSecret of such a type, although the Secret is right. */
export const UPDATE_ERROR = "Child secret update error";

/**
 * Types that the API server takes with certain keys or annotations only. Source: kubernetes, pkg/apis/core/validation,
 * ValidateSecret.
 */
export const DEMANDING: readonly string[] = [
  "kubernetes.io/basic-auth",
  "kubernetes.io/dockercfg",
  "kubernetes.io/dockerconfigjson",
  "kubernetes.io/service-account-token",
  "kubernetes.io/ssh-auth",
  "kubernetes.io/tls",
];
