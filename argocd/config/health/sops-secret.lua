-- sops-secrets-operator has one word for its result, status.message, and no observedGeneration: after a change the word of the
-- version before can be read for a moment. docs/secrets.md, "Has the new value arrived?"
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
end
return hs
