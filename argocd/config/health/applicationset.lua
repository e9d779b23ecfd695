-- Argo CD's own rule for ApplicationSets as far as it is about errors, and the applications that it has made: one that cannot be
-- compared with Git has nothing else to be seen by, because it neither syncs nor knows a commit.
local hs = {status = "Progressing", message = "waiting for the ApplicationSet controller"}
if obj.status == nil then
  return hs
end
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.type == "ErrorOccurred" and condition.status == "True" then
    return {status = "Degraded", message = condition.message}
  end
  if condition.type == "ResourcesUpToDate" then
    if condition.status == "True" then
      hs = {status = "Healthy", message = condition.message}
    else
      hs = {status = "Degraded", message = condition.message}
    end
  end
end
for _, application in ipairs(obj.status.resources or {}) do
  if application.status == "Unknown" then
    return {status = "Degraded", message = application.name .. " cannot be compared with Git"}
  end
end
return hs
