-- sops-secrets-operator has one word for its result, status.message, and no observedGeneration: after a change the word of the
-- version before can be read for a moment. docs/secrets.md, "Has the new value arrived?"
-- Types that the API server takes with certain keys only. Of one of those "Child secret update error" may be wrong, and nothing
-- here can tell. docs/secrets.md, "Secrets have no type"
local demanding = {
  ["kubernetes.io/basic-auth"] = true,
  ["kubernetes.io/dockercfg"] = true,
  ["kubernetes.io/dockerconfigjson"] = true,
  ["kubernetes.io/service-account-token"] = true,
  ["kubernetes.io/ssh-auth"] = true,
  ["kubernetes.io/tls"] = true,
}

hs = {status = "Progressing", message = "waiting for sops-secrets-operator"}
if obj.status ~= nil and obj.status.message ~= nil and obj.status.message ~= "" then
  hs.message = obj.status.message
  if obj.status.message == "Healthy" then
    hs.status = "Healthy"
  elseif obj.status.message == "Reconciliation is suspended" then
    hs.status = "Suspended"
  else
    hs.status = "Degraded"
  end
  if obj.status.message == "Child secret update error" then
    local way = "does its Secret have another type? Delete that, and the operator makes it anew"
    for _, template in ipairs(obj.spec.secretTemplates) do
      if demanding[template.type or ""] then
        way = "it may be right all the same, seal it without its type " .. template.type
      end
    end
    hs.message = hs.message .. ": " .. way
  end
end
return hs
