// Page tokens: where the next page of a list begins, sealed.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <optional>
#include <string>

#include "server/store/job_store.h"

namespace wring {

// Tokens of one list: of all that `request` asks for but page_size and page_token, within `project`. What a
// token holds is encrypted (AES-SIV, RFC 5297, with 32 bytes of `key`), for positions count the jobs of all
// tenants; it opens for the same list alone. The same position has the same token, so that an unchanged page
// stays so.
class PageTokens {
 public:
  PageTokens(const google::protobuf::Message& request, const Within& project, std::string key);

  std::string token(std::uint64_t position) const;
  std::string token(const std::string& name) const;  // of the last on a page
  // Of the request's page_token: 0 or nullopt where it has none. Throw kInvalidArgument "BAD_PAGE_TOKEN"
  // about page_token.
  std::uint64_t position() const;
  std::optional<std::string> name() const;

 private:
  std::string asked_, list_, key_;
};

}  // namespace wring
