-- What look(base) tells of one queue; { the error } where its data are spoiled, so that the others are still told.
local function told(look, base)
  local ok, found = pcall(look, base)
  if ok then return found end
  return { type(found) == 'table' and found.err or found }
end
