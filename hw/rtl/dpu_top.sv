/// The DPU: wiring only.
///
/// AXI4-Lite registers, four AXI4 masters (program, features and weights read, store writes; 64-bit addresses, BusBytes
/// wide, INCR, no IDs), an interrupt. The parameters are those of build_configs/dpu; ParameterHash is the first 32 bits of
/// their SHA-256. Packed: two INT8 products a DSP for DspOutputs of the Outputs, the rest in lookup tables.
module dpu_top
  import isa_pkg::*;
#(
    parameter int unsigned Inputs = 8,
    parameter int unsigned Outputs = 16,
    parameter int unsigned Pixels = 1,
    parameter int unsigned FeatureBytes = 16384,
    parameter int unsigned WeightBytes = 16384,
    parameter int unsigned ParameterEntries = 64,
    parameter int unsigned TableCount = 8,
    parameter int unsigned Accumulators = 256,
    parameter int unsigned OutputBytes = 16384,
    parameter int unsigned RequantizeLanes = 8,
    parameter int unsigned VectorLanes = 8,
    parameter int unsigned BusBytes = 8,
    parameter int unsigned QueueDepth = 8,
    parameter logic [31:0] ParameterHash = '0,
    parameter bit Packed = 1'b0,
    parameter int unsigned DspOutputs = Outputs
) (
    input  logic                  ap_clk,
    input  logic                  ap_rst_n,
    input  logic [           7:0] s_axi_control_awaddr,
    input  logic                  s_axi_control_awvalid,
    output logic                  s_axi_control_awready,
    input  logic [          31:0] s_axi_control_wdata,
    input  logic [           3:0] s_axi_control_wstrb,
    input  logic                  s_axi_control_wvalid,
    output logic                  s_axi_control_wready,
    output logic [           1:0] s_axi_control_bresp,
    output logic                  s_axi_control_bvalid,
    input  logic                  s_axi_control_bready,
    input  logic [           7:0] s_axi_control_araddr,
    input  logic                  s_axi_control_arvalid,
    output logic                  s_axi_control_arready,
    output logic [          31:0] s_axi_control_rdata,
    output logic [           1:0] s_axi_control_rresp,
    output logic                  s_axi_control_rvalid,
    input  logic                  s_axi_control_rready,
    output logic                  interrupt,
    output logic [          63:0] m_axi_features_araddr,
    output logic [           7:0] m_axi_features_arlen,
    output logic [           2:0] m_axi_features_arsize,
    output logic [           1:0] m_axi_features_arburst,
    output logic                  m_axi_features_arvalid,
    input  logic                  m_axi_features_arready,
    input  logic [BusBytes*8-1:0] m_axi_features_rdata,
    input  logic [           1:0] m_axi_features_rresp,
    input  logic                  m_axi_features_rlast,
    input  logic                  m_axi_features_rvalid,
    output logic                  m_axi_features_rready,
    output logic [          63:0] m_axi_weights_araddr,
    output logic [           7:0] m_axi_weights_arlen,
    output logic [           2:0] m_axi_weights_arsize,
    output logic [           1:0] m_axi_weights_arburst,
    output logic                  m_axi_weights_arvalid,
    input  logic                  m_axi_weights_arready,
    input  logic [BusBytes*8-1:0] m_axi_weights_rdata,
    input  logic [           1:0] m_axi_weights_rresp,
    input  logic                  m_axi_weights_rlast,
    input  logic                  m_axi_weights_rvalid,
    output logic                  m_axi_weights_rready,
    output logic [          63:0] m_axi_program_araddr,
    output logic [           7:0] m_axi_program_arlen,
    output logic [           2:0] m_axi_program_arsize,
    output logic [           1:0] m_axi_program_arburst,
    output logic                  m_axi_program_arvalid,
    input  logic                  m_axi_program_arready,
    input  logic [BusBytes*8-1:0] m_axi_program_rdata,
    input  logic [           1:0] m_axi_program_rresp,
    input  logic                  m_axi_program_rlast,
    input  logic                  m_axi_program_rvalid,
    output logic                  m_axi_program_rready,
    output logic [          63:0] m_axi_store_awaddr,
    output logic [           7:0] m_axi_store_awlen,
    output logic [           2:0] m_axi_store_awsize,
    output logic [           1:0] m_axi_store_awburst,
    output logic                  m_axi_store_awvalid,
    input  logic                  m_axi_store_awready,
    output logic [BusBytes*8-1:0] m_axi_store_wdata,
    output logic [  BusBytes-1:0] m_axi_store_wstrb,
    output logic                  m_axi_store_wlast,
    output logic                  m_axi_store_wvalid,
    input  logic                  m_axi_store_wready,
    input  logic [           1:0] m_axi_store_bresp,
    input  logic                  m_axi_store_bvalid,
    output logic                  m_axi_store_bready
);

  if (Pixels != 1) begin : gen_check_pixels
    $fatal(1, "Pixels (%0d) must be 1.", Pixels);
  end
  if (VectorLanes != Inputs) begin : gen_check_lanes
    $fatal(1, "VectorLanes (%0d) must be Inputs (%0d).", VectorLanes, Inputs);
  end

  localparam int unsigned Units = (2 * Inputs + 15) / 16;
  localparam int unsigned Word = Inputs * 8;

  // Control.
  logic start, soft_reset, busy, done, failed, run, abort, idle, mac_active;
  logic [31:0] expected_hash, size, first, error_address;
  logic [63:0] base;
  error_e error_code;
  logic [2:0] stall, completed;

  // Fetch and issue.
  logic offered, taken, blocked, ended, fetch_error, stuck, issue_busy;
  logic [1:0] offered_engine;
  logic [InstructionBits-1:0] offered_instr;
  logic [31:0] offered_address, stuck_address;
  error_e fetch_code;

  // Engines: feature_load, weight_load, compute, store.
  logic [3:0] engine_start, engine_ready, engine_done, engine_error, engine_idle, bus_idle;
  logic [InstructionBits-1:0] engine_instr[4];
  error_e engine_code[4];
  logic [31:0] engine_address[4];

  // Clients of readers and writer.
  logic fr_request, fr_request_ready, fr_valid, fr_ready, fr_last, fr_range, fr_axi;
  logic [31:0] fr_offset;
  logic [23:0] fr_bytes;
  logic [BusBytes*8-1:0] fr_data;
  logic wr_request, wr_request_ready, wr_valid, wr_ready, wr_last, wr_range, wr_axi;
  logic [31:0] wr_offset;
  logic [23:0] wr_bytes;
  logic [BusBytes*8-1:0] wr_data;
  logic pr_request, pr_request_ready, pr_valid, pr_ready, pr_last, pr_range, pr_axi;
  logic [31:0] pr_offset;
  logic [23:0] pr_bytes;
  logic [BusBytes*8-1:0] pr_data;
  logic sw_request, sw_request_ready, sw_valid, sw_ready, sw_done, sw_range, sw_axi;
  logic [31:0] sw_offset;
  logic [23:0] sw_bytes;
  logic [BusBytes*8-1:0] sw_data;

  // Memories.
  logic fa_en, fa_range, fb_en, fb_range, oa_en, oa_we, oa_range, ob_en, ob_range;
  logic [19:0] fa_addr, fb_addr, oa_addr, ob_addr, load_addr, wb_addr;
  logic [1:0] fa_need, fb_need, oa_need, ob_need;
  logic [Inputs-1:0] fa_strobe, oa_strobe;
  logic [Word-1:0] fa_data, fb_data, oa_wdata, oa_rdata, ob_data;
  logic wa_en, wa_range, wb_en, wb_range, pa_en, pa_range, ta_en, ta_range;
  logic [127:0] load_data;
  logic [Units-1:0] wb_need;
  logic [2*Word-1:0] wb_data;
  logic bias_en, bias_range, scale_en, scale_range;
  logic [11:0] bias_addr, scale_addr;
  logic [31:0] bias, scale;
  logic drain_en, drain_range, vector_en, vector_range, inner_en, inner_range;
  logic [3:0] drain_table, vector_table, inner_table;
  logic [RequantizeLanes*8-1:0] drain_index, drain_data, inner_index;
  logic [Word-1:0] vector_index, vector_data;
  logic [RequantizeLanes*32-1:0] inner_data;

  assign idle = engine_idle == '1 && bus_idle == '1;

  dpu_registers #(
      .ParameterHash(ParameterHash)
  ) registers (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .s_axi_awaddr(s_axi_control_awaddr),
      .s_axi_awvalid(s_axi_control_awvalid),
      .s_axi_awready(s_axi_control_awready),
      .s_axi_wdata(s_axi_control_wdata),
      .s_axi_wstrb(s_axi_control_wstrb),
      .s_axi_wvalid(s_axi_control_wvalid),
      .s_axi_wready(s_axi_control_wready),
      .s_axi_bresp(s_axi_control_bresp),
      .s_axi_bvalid(s_axi_control_bvalid),
      .s_axi_bready(s_axi_control_bready),
      .s_axi_araddr(s_axi_control_araddr),
      .s_axi_arvalid(s_axi_control_arvalid),
      .s_axi_arready(s_axi_control_arready),
      .s_axi_rdata(s_axi_control_rdata),
      .s_axi_rresp(s_axi_control_rresp),
      .s_axi_rvalid(s_axi_control_rvalid),
      .s_axi_rready(s_axi_control_rready),
      .interrupt_o(interrupt),
      .start_o(start),
      .soft_reset_o(soft_reset),
      .expected_hash_o(expected_hash),
      .base_o(base),
      .size_o(size),
      .program_o(first),
      .busy_i(busy),
      .done_i(done),
      .failed_i(failed),
      .error_code_i(error_code),
      .error_address_i(error_address),
      .mac_active_i(mac_active),
      .stall_i(stall),
      .completed_i(completed + 3'(done))
  );

  dpu_control #(
      .ParameterHash(ParameterHash)
  ) control (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .start_i(start),
      .soft_reset_i(soft_reset),
      .expected_hash_i(expected_hash),
      .busy_o(busy),
      .done_o(done),
      .failed_o(failed),
      .error_code_o(error_code),
      .error_address_o(error_address),
      .run_o(run),
      .abort_o(abort),
      .idle_i(idle),
      .end_i(ended),
      .issue_busy_i(issue_busy),
      .fetch_error_i(fetch_error),
      .fetch_code_i(fetch_code),
      .fetch_address_i(offered_address),
      .engine_error_i(engine_error),
      .engine_code_i(engine_code),
      .engine_address_i(engine_address),
      .deadlock_i(stuck && blocked && !taken),
      .deadlock_address_i(stuck_address)
  );

  dpu_fetch #(
      .BusBytes(BusBytes)
  ) fetch (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .run_i(run),
      .program_i(first),
      .size_i(size),
      .request_valid_o(pr_request),
      .request_ready_i(pr_request_ready),
      .request_offset_o(pr_offset),
      .request_bytes_o(pr_bytes),
      .data_valid_i(pr_valid),
      .data_ready_o(pr_ready),
      .data_i(pr_data),
      .axi_error_i(pr_axi),
      .valid_o(offered),
      .engine_o(offered_engine),
      .instr_o(offered_instr),
      .address_o(offered_address),
      .taken_i(taken),
      .blocked_o(blocked),
      .end_o(ended),
      .error_o(fetch_error),
      .error_code_o(fetch_code)
  );

  dpu_issue #(
      .QueueDepth(QueueDepth)
  ) issue (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .run_i(run),
      .valid_i(offered),
      .engine_i(offered_engine),
      .instr_i(offered_instr),
      .address_i(offered_address),
      .taken_o(taken),
      .ready_i(engine_ready),
      .done_i(engine_done),
      .start_o(engine_start),
      .instr_o(engine_instr),
      .error_address_o(engine_address),
      .busy_o(issue_busy),
      .stuck_o(stuck),
      .stuck_address_o(stuck_address),
      .stall_o(stall),
      .completed_o(completed)
  );

  dpu_load_features #(
      .Inputs  (Inputs),
      .BusBytes(BusBytes)
  ) load_features (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .start_i(engine_start[0]),
      .instr_i(engine_instr[0]),
      .ready_o(engine_ready[0]),
      .done_o(engine_done[0]),
      .error_o(engine_error[0]),
      .error_code_o(engine_code[0]),
      .abort_i(abort),
      .idle_o(engine_idle[0]),
      .request_valid_o(fr_request),
      .request_ready_i(fr_request_ready),
      .request_offset_o(fr_offset),
      .request_bytes_o(fr_bytes),
      .data_valid_i(fr_valid),
      .data_ready_o(fr_ready),
      .data_i(fr_data),
      .data_last_i(fr_last),
      .range_error_i(fr_range),
      .axi_error_i(fr_axi),
      .fm_en_o(fa_en),
      .fm_addr_o(fa_addr),
      .fm_need_o(fa_need),
      .fm_strobe_o(fa_strobe),
      .fm_data_o(fa_data),
      .fm_range_i(fa_range)
  );

  dpu_load_weights #(
      .BusBytes(BusBytes)
  ) load_weights (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .start_i(engine_start[1]),
      .instr_i(engine_instr[1]),
      .ready_o(engine_ready[1]),
      .done_o(engine_done[1]),
      .error_o(engine_error[1]),
      .error_code_o(engine_code[1]),
      .abort_i(abort),
      .idle_o(engine_idle[1]),
      .request_valid_o(wr_request),
      .request_ready_i(wr_request_ready),
      .request_offset_o(wr_offset),
      .request_bytes_o(wr_bytes),
      .data_valid_i(wr_valid),
      .data_ready_o(wr_ready),
      .data_i(wr_data),
      .data_last_i(wr_last),
      .range_error_i(wr_range),
      .axi_error_i(wr_axi),
      .wm_en_o(wa_en),
      .pm_en_o(pa_en),
      .tm_en_o(ta_en),
      .addr_o(load_addr),
      .data_o(load_data),
      .wm_range_i(wa_range),
      .pm_range_i(pa_range),
      .tm_range_i(ta_range)
  );

  dpu_compute #(
      .Inputs(Inputs),
      .Outputs(Outputs),
      .RequantizeLanes(RequantizeLanes),
      .Accumulators(Accumulators),
      .Packed(Packed),
      .DspOutputs(DspOutputs)
  ) compute (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .start_i(engine_start[2]),
      .instr_i(engine_instr[2]),
      .ready_o(engine_ready[2]),
      .done_o(engine_done[2]),
      .error_o(engine_error[2]),
      .error_code_o(engine_code[2]),
      .abort_i(abort),
      .idle_o(engine_idle[2]),
      .mac_active_o(mac_active),
      .fm_en_o(fb_en),
      .fm_addr_o(fb_addr),
      .fm_need_o(fb_need),
      .fm_data_i(fb_data),
      .fm_range_i(fb_range),
      .wm_en_o(wb_en),
      .wm_addr_o(wb_addr),
      .wm_need_o(wb_need),
      .wm_data_i(wb_data),
      .wm_range_i(wb_range),
      .bias_en_o(bias_en),
      .bias_addr_o(bias_addr),
      .bias_i(bias),
      .range_bias_i(bias_range),
      .scale_en_o(scale_en),
      .scale_addr_o(scale_addr),
      .scale_i(scale),
      .range_scale_i(scale_range),
      .drain_en_o(drain_en),
      .drain_table_o(drain_table),
      .drain_o(drain_index),
      .drain_i(drain_data),
      .range_drain_i(drain_range),
      .vector_en_o(vector_en),
      .vector_table_o(vector_table),
      .vector_o(vector_index),
      .vector_i(vector_data),
      .range_vector_i(vector_range),
      .inner_en_o(inner_en),
      .inner_table_o(inner_table),
      .inner_o(inner_index),
      .inner_i(inner_data),
      .range_inner_i(inner_range),
      .om_en_o(oa_en),
      .om_we_o(oa_we),
      .om_addr_o(oa_addr),
      .om_need_o(oa_need),
      .om_strobe_o(oa_strobe),
      .om_wdata_o(oa_wdata),
      .om_rdata_i(oa_rdata),
      .om_range_i(oa_range)
  );

  dpu_store #(
      .Inputs  (Inputs),
      .BusBytes(BusBytes)
  ) store (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .start_i(engine_start[3]),
      .instr_i(engine_instr[3]),
      .ready_o(engine_ready[3]),
      .done_o(engine_done[3]),
      .error_o(engine_error[3]),
      .error_code_o(engine_code[3]),
      .abort_i(abort),
      .idle_o(engine_idle[3]),
      .om_en_o(ob_en),
      .om_addr_o(ob_addr),
      .om_need_o(ob_need),
      .om_data_i(ob_data),
      .om_range_i(ob_range),
      .request_valid_o(sw_request),
      .request_ready_i(sw_request_ready),
      .request_offset_o(sw_offset),
      .request_bytes_o(sw_bytes),
      .data_valid_o(sw_valid),
      .data_ready_i(sw_ready),
      .data_o(sw_data),
      .done_i(sw_done),
      .range_error_i(sw_range),
      .axi_error_i(sw_axi)
  );

  dpu_banked_memory #(
      .Bytes(FeatureBytes),
      .UnitBytes(Inputs / 2),
      .Units(2)
  ) feature_memory (
      .clk_i(ap_clk),
      .a_en_i(fa_en),
      .a_we_i(1'b1),
      .a_addr_i(fa_addr),
      .a_need_i(fa_need),
      .a_strobe_i(fa_strobe),
      .a_wdata_i(fa_data),
      .a_rdata_o(),
      .a_range_o(fa_range),
      .b_en_i(fb_en),
      .b_addr_i(fb_addr),
      .b_need_i(fb_need),
      .b_rdata_o(fb_data),
      .b_range_o(fb_range)
  );

  dpu_banked_memory #(
      .Bytes(OutputBytes),
      .UnitBytes(Inputs / 2),
      .Units(2)
  ) output_memory (
      .clk_i(ap_clk),
      .a_en_i(oa_en),
      .a_we_i(oa_we),
      .a_addr_i(oa_addr),
      .a_need_i(oa_need),
      .a_strobe_i(oa_strobe),
      .a_wdata_i(oa_wdata),
      .a_rdata_o(oa_rdata),
      .a_range_o(oa_range),
      .b_en_i(ob_en),
      .b_addr_i(ob_addr),
      .b_need_i(ob_need),
      .b_rdata_o(ob_data),
      .b_range_o(ob_range)
  );

  dpu_banked_memory #(
      .Bytes(WeightBytes),
      .UnitBytes(16),
      .Units(Units)
  ) weight_memory (
      .clk_i(ap_clk),
      .a_en_i(wa_en),
      .a_we_i(1'b1),
      .a_addr_i(load_addr),
      .a_need_i(Units'(1)),
      .a_strobe_i((Units * 16)'(16'hFFFF)),
      .a_wdata_i((Units * 128)'(load_data)),
      .a_rdata_o(),
      .a_range_o(wa_range),
      .b_en_i(wb_en),
      .b_addr_i(wb_addr),
      .b_need_i(wb_need),
      .b_rdata_o(wb_data),
      .b_range_o(wb_range)
  );

  dpu_parameters #(
      .Entries(ParameterEntries)
  ) parameters (
      .clk_i(ap_clk),
      .we_i(pa_en),
      .waddr_i(load_addr[11:0]),
      .wdata_i(load_data),
      .range_w_o(pa_range),
      .bias_en_i(bias_en),
      .bias_addr_i(bias_addr),
      .bias_o(bias),
      .range_bias_o(bias_range),
      .scale_en_i(scale_en),
      .scale_addr_i(scale_addr),
      .scale_o(scale),
      .range_scale_o(scale_range)
  );

  dpu_tables #(
      .Tables(TableCount),
      .DrainLanes(RequantizeLanes),
      .VectorLanes(VectorLanes)
  ) tables (
      .clk_i(ap_clk),
      .we_i(ta_en),
      .waddr_i(load_addr[11:0]),
      .wdata_i(load_data),
      .range_w_o(ta_range),
      .drain_en_i(drain_en),
      .drain_table_i(drain_table),
      .drain_i(drain_index),
      .drain_o(drain_data),
      .range_drain_o(drain_range),
      .vector_en_i(vector_en),
      .vector_table_i(vector_table),
      .vector_i(vector_index),
      .vector_o(vector_data),
      .range_vector_o(vector_range),
      .inner_en_i(inner_en),
      .inner_table_i(inner_table),
      .inner_i(inner_index),
      .inner_o(inner_data),
      .range_inner_o(inner_range)
  );

  axi_reader #(
      .BusBytes(BusBytes)
  ) feature_reader (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .base_i(base),
      .size_i(size),
      .abort_i(abort),
      .idle_o(bus_idle[0]),
      .request_valid_i(fr_request),
      .request_ready_o(fr_request_ready),
      .request_offset_i(fr_offset),
      .request_bytes_i(fr_bytes),
      .data_valid_o(fr_valid),
      .data_ready_i(fr_ready),
      .data_o(fr_data),
      .data_last_o(fr_last),
      .range_error_o(fr_range),
      .axi_error_o(fr_axi),
      .m_axi_araddr(m_axi_features_araddr),
      .m_axi_arlen(m_axi_features_arlen),
      .m_axi_arsize(m_axi_features_arsize),
      .m_axi_arburst(m_axi_features_arburst),
      .m_axi_arvalid(m_axi_features_arvalid),
      .m_axi_arready(m_axi_features_arready),
      .m_axi_rdata(m_axi_features_rdata),
      .m_axi_rresp(m_axi_features_rresp),
      .m_axi_rlast(m_axi_features_rlast),
      .m_axi_rvalid(m_axi_features_rvalid),
      .m_axi_rready(m_axi_features_rready)
  );

  axi_reader #(
      .BusBytes(BusBytes)
  ) weight_reader (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .base_i(base),
      .size_i(size),
      .abort_i(abort),
      .idle_o(bus_idle[1]),
      .request_valid_i(wr_request),
      .request_ready_o(wr_request_ready),
      .request_offset_i(wr_offset),
      .request_bytes_i(wr_bytes),
      .data_valid_o(wr_valid),
      .data_ready_i(wr_ready),
      .data_o(wr_data),
      .data_last_o(wr_last),
      .range_error_o(wr_range),
      .axi_error_o(wr_axi),
      .m_axi_araddr(m_axi_weights_araddr),
      .m_axi_arlen(m_axi_weights_arlen),
      .m_axi_arsize(m_axi_weights_arsize),
      .m_axi_arburst(m_axi_weights_arburst),
      .m_axi_arvalid(m_axi_weights_arvalid),
      .m_axi_arready(m_axi_weights_arready),
      .m_axi_rdata(m_axi_weights_rdata),
      .m_axi_rresp(m_axi_weights_rresp),
      .m_axi_rlast(m_axi_weights_rlast),
      .m_axi_rvalid(m_axi_weights_rvalid),
      .m_axi_rready(m_axi_weights_rready)
  );

  // What is read ahead of END is thrown away: the reader drains while nothing runs.
  axi_reader #(
      .BusBytes(BusBytes)
  ) program_reader (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .base_i(base),
      .size_i(size),
      .abort_i(!run),
      .idle_o(bus_idle[2]),
      .request_valid_i(pr_request),
      .request_ready_o(pr_request_ready),
      .request_offset_i(pr_offset),
      .request_bytes_i(pr_bytes),
      .data_valid_o(pr_valid),
      .data_ready_i(pr_ready),
      .data_o(pr_data),
      .data_last_o(pr_last),
      .range_error_o(pr_range),
      .axi_error_o(pr_axi),
      .m_axi_araddr(m_axi_program_araddr),
      .m_axi_arlen(m_axi_program_arlen),
      .m_axi_arsize(m_axi_program_arsize),
      .m_axi_arburst(m_axi_program_arburst),
      .m_axi_arvalid(m_axi_program_arvalid),
      .m_axi_arready(m_axi_program_arready),
      .m_axi_rdata(m_axi_program_rdata),
      .m_axi_rresp(m_axi_program_rresp),
      .m_axi_rlast(m_axi_program_rlast),
      .m_axi_rvalid(m_axi_program_rvalid),
      .m_axi_rready(m_axi_program_rready)
  );

  axi_writer #(
      .BusBytes(BusBytes)
  ) store_writer (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .base_i(base),
      .size_i(size),
      .abort_i(abort),
      .idle_o(bus_idle[3]),
      .request_valid_i(sw_request),
      .request_ready_o(sw_request_ready),
      .request_offset_i(sw_offset),
      .request_bytes_i(sw_bytes),
      .data_valid_i(sw_valid),
      .data_ready_o(sw_ready),
      .data_i(sw_data),
      .done_o(sw_done),
      .range_error_o(sw_range),
      .axi_error_o(sw_axi),
      .m_axi_awaddr(m_axi_store_awaddr),
      .m_axi_awlen(m_axi_store_awlen),
      .m_axi_awsize(m_axi_store_awsize),
      .m_axi_awburst(m_axi_store_awburst),
      .m_axi_awvalid(m_axi_store_awvalid),
      .m_axi_awready(m_axi_store_awready),
      .m_axi_wdata(m_axi_store_wdata),
      .m_axi_wstrb(m_axi_store_wstrb),
      .m_axi_wlast(m_axi_store_wlast),
      .m_axi_wvalid(m_axi_store_wvalid),
      .m_axi_wready(m_axi_store_wready),
      .m_axi_bresp(m_axi_store_bresp),
      .m_axi_bvalid(m_axi_store_bvalid),
      .m_axi_bready(m_axi_store_bready)
  );

endmodule
