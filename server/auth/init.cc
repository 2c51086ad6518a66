// Certificates by the authority, the token by the job database.
#include "server/auth/init.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "common/address.h"
#include "common/error.h"
#include "common/text.h"
#include "server/auth/certificates.h"
#include "server/auth/tokens.h"
#include "server/store/audit_rows.h"
#include "server/upkeep/data_lock.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> all_hosts(std::vector<std::string> hosts) {
  if (const auto name = host_name(); !name.empty()) hosts.push_back(name);
  hosts.insert(hosts.end(), {"localhost", "127.0.0.1", "::1"});
  std::sort(hosts.begin(), hosts.end());
  hosts.erase(std::unique(hosts.begin(), hosts.end()), hosts.end());
  return hosts;
}

}  // namespace

Json InitReport::to_json() const {
  return {{"ca", (tls / "ca.crt").string()}, {"hosts", hosts}, {"token_id", token_id}, {"token", secret}};
}

std::string InitReport::in_words() const {
  return "certificates  " + tls.string() + "  (the server reads them there; ca.key stays there)\n" +
         "hosts         " + join(hosts, ", ") + "\n" + "people        copy " + (tls / "ca.crt").string() +
         " to each, as ~/.config/wring/ca.crt, and put into\n" +
         "              ~/.config/wring/client.yaml:  server: HOST:7433, ca: ca.crt, token: TOKEN\n" +
         "workers       wring-server init worker NAME makes a folder for each to copy\n" + "admin's token " +
         secret + "\n" + "              (" + token_id +
         "; it is not shown again; wring tokens create makes others)";
}

Json WorkerInitReport::to_json() const {
  return {{"name", name}, {"folder", folder.string()}};
}

std::string WorkerInitReport::in_words() const {
  return "copy " + folder.string() + " to the worker " + name +
         ", for instance as /etc/wring/tls, and start\n" +
         "  wring-worker --server HOST:7433 --tls /etc/wring/tls --cache /var/cache/wring\n" +
         "wring tokens revoke " + std::string(kWorkerPrefix) + name + " shuts it out.";
}

InitReport init_server(const fs::path& data, const InitOptions& options) {
  const FileDescriptor lock = lock_data(data);
  InitReport report;
  report.tls = fs::absolute(data) / kTlsFolder;
  report.hosts = all_hosts(options.hosts);
  const Authority authority(report.tls);
  write_tls(report.tls, "server", authority.sign_server(report.hosts, options.days));
  JobStore store(data);
  Token token;
  token.name = "wring-server init";
  token.scope = Scope::kAdmin;
  const TimeMs now = SystemClock().now_ms();
  const AuditNote note(
      [now] { return AuditEntry{0, now, "operator", "", "", "wring-server init", "", "OK", ""}; });
  std::tie(token, report.secret) = Tokens(store).create(token, now);
  report.token_id = token.id;
  return report;
}

WorkerInitReport init_worker(const fs::path& data, const std::string& name, int days) {
  const fs::path tls = fs::absolute(data) / kTlsFolder;
  if (!read_tls(tls, "ca"))
    throw Error(ErrorCode::kFailedPrecondition, "NO_AUTHORITY",
                "there is no certificate authority in " + tls.string(), "data",
                "wring-server init makes one.");
  const auto files = Authority(tls).sign_worker(name, days);
  const fs::path folder = tls / "workers" / name;
  write_tls(folder, "worker", files);
  return {folder, name};
}

}  // namespace wring
