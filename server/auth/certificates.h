// The server's certificate authority, and what it signs: the server's certificate and the workers'.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace wring {

inline constexpr const char* kTlsFolder = "tls";  // in a data folder

// PEM texts of one side of a connection.
struct TlsFiles {
  std::string ca, certificate, key;
};

// Keys are on P-256. A certificate counts from an hour before it is made, for clocks that differ.
class Authority {
 public:
  // Of FOLDER/ca.crt and FOLDER/ca.key, which are made where they are not there, for ten years.
  explicit Authority(const std::filesystem::path& folder);
  ~Authority();

  // For a server that goes by these names and addresses.
  TlsFiles sign_server(const std::vector<std::string>& hosts, int days) const;
  // For a worker: its common name is "worker:NAME". Throws kInvalidArgument "BAD_WORKER_NAME".
  TlsFiles sign_worker(const std::string& name, int days) const;

 private:
  struct Pair;
  std::unique_ptr<Pair> pair_;
};

// Writes ca.crt, NAME.crt and NAME.key into `folder`, which is made; readable by this user alone.
void write_tls(const std::filesystem::path& folder, const std::string& name, const TlsFiles& files);
// Reads what write_tls wrote; nullopt where there is no NAME.crt.
std::optional<TlsFiles> read_tls(const std::filesystem::path& folder, const std::string& name);

// The host names that a certificate is for; its addresses are left out.
std::vector<std::string> hosts_of(const std::string& certificate_pem);

}  // namespace wring
