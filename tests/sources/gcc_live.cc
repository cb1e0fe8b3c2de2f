/* A gcc plug-in: the vector registers that are live behind each TLS descriptor call, by gcc's own data flow just before it writes assembly.
 *
 * Each function is lines of the file that -fplugin-arg-gcc_live-output=FILE names:  F assembler-name source-file  then one line a call in the order of
 * the code:  C registers...  in the hot part,  S registers...  in the cold one.
 */
#include "gcc-plugin.h"
#include "plugin-version.h"
#include "tree.h"
#include "rtl.h"
#include "backend.h"
#include "df.h"
#include "regs.h"
#include "function.h"
#include "memmodel.h"
#include "emit-rtl.h"
#include "insn-config.h"
#include "recog.h"
#include "output.h"
#include "tree-pass.h"
#include "context.h"
#include <map>
#include <string>

int plugin_is_GPL_compatible;
static const char *output;

static bool is_descriptor_call(rtx_insn *insn) {
    if (!NONDEBUG_INSN_P(insn)) return false;
    int code = recog_memoized(insn);
    const char *name = code >= 0 ? get_insn_name(code) : nullptr;
    return name && strstr(name, "tls_dynamic_gnu2_call");
}

static std::string vectors_of(bitmap live) {
    std::string words;
    for (int n = 0; n < FIRST_PSEUDO_REGISTER; n++) {
        const char *name = reg_names[n];
        bool vector = !strncmp(name, "xmm", 3) || (name[0] == 'k' && ISDIGIT(name[1]));
        if (vector && bitmap_bit_p(live, n)) words += std::string(" ") + name;
    }
    return words;
}

namespace {
const pass_data data = {RTL_PASS, "descriptor_live", OPTGROUP_NONE, TV_NONE, 0, 0, 0, 0, 0};

struct live_pass : rtl_opt_pass {
    explicit live_pass(gcc::context *context) : rtl_opt_pass(data, context) {}

    unsigned int execute(function *) override {
        df_analyze();
        std::map<rtx_insn *, std::string> found;
        basic_block block;
        FOR_EACH_BB_FN(block, cfun) {
            bitmap_head live;
            bitmap_initialize(&live, &bitmap_default_obstack);
            bitmap_copy(&live, df_get_live_out(block));
            df_simulate_initialize_backwards(block, &live);
            rtx_insn *insn;
            FOR_BB_INSNS_REVERSE(block, insn) {
                if (is_descriptor_call(insn)) found[insn] = vectors_of(&live);
                df_simulate_one_insn_backwards(block, insn, &live);
            }
            bitmap_clear(&live);
        }
        if (found.empty()) return 0;
        FILE *file = fopen(output, "a");
        if (!file) return 0;
        fprintf(file, "F %s %s\n", IDENTIFIER_POINTER(DECL_ASSEMBLER_NAME(current_function_decl)), main_input_filename);
        for (rtx_insn *insn = get_insns(); insn; insn = NEXT_INSN(insn)) {
            auto at = found.find(insn);
            if (at != found.end()) fprintf(file, "%c%s\n", BB_PARTITION(BLOCK_FOR_INSN(insn)) == BB_COLD_PARTITION ? 'S' : 'C', at->second.c_str());
        }
        fclose(file);
        return 0;
    }
};
}

int plugin_init(plugin_name_args *info, plugin_gcc_version *version) {
    if (!plugin_default_version_check(version, &gcc_version)) return 1;
    for (int n = 0; n < info->argc; n++)
        if (!strcmp(info->argv[n].key, "output")) output = info->argv[n].value;
    if (!output) return 1;
    register_pass_info pass = {new live_pass(g), "*free_cfg", 1, PASS_POS_INSERT_BEFORE};
    register_callback(info->base_name, PLUGIN_PASS_MANAGER_SETUP, nullptr, &pass);
    return 0;
}
